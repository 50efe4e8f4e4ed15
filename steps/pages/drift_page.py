"""The plots of a drift report, on the page of its run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunInfo

from provenance.record import names
from provenance.record.lineage import Lineage
from provenance.record.run_page import artifact_link
from runtime import plotting
from steps.pages import city, drift_plots
from taxi.evaluation.drift import MOVED
from taxi.evaluation.drift_report import Drift


def about(info: RunInfo, found: Drift, lineage: Lineage) -> tuple[str, ...]:
    """The run's page: the error then and now, and a link to the report."""
    result = (
        f"RMSE **{found.now.rmse:.4f} minutes** on {found.spans['new']}, {found.before.rmse:.4f} on "
        f"{found.spans['judged']}: {found.change:+.1f} %."
    )
    return (
        result,
        artifact_link(info.experiment_id, info.run_id, names.REPORT_FILE),
        *city.note(city.is_made_up(lineage)),
    )


def log_drift_plots(client: MlflowClient, run_id: str, found: Drift) -> None:
    """Which inputs moved, and the error by hour before and now, under ``plots/``."""
    psi = {shift.column: shift.psi for shift in found.shifts}
    before, now = found.before.rmse_by("hour"), found.now.rmse_by("hour")
    figures = {
        "inputs.png": drift_plots.moved(psi, found.usual, MOVED),
        "error_by_hour.png": drift_plots.error_before_and_now(before, now, (found.spans["judged"], found.spans["new"])),
    }
    with tempfile.TemporaryDirectory(prefix="plots-") as folder:
        for name, figure in figures.items():
            plotting.save(figure, Path(folder, name))
        client.log_artifacts(run_id, folder, names.PLOTS)
