"""The plots of a registered model, on the page of its run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlflow import MlflowClient

from provenance.pages import search_plots
from provenance.record import names
from runtime import plotting
from steps.pages import model_plots
from taxi.evaluation.evaluate import Evaluation
from taxi.models.predictor import Predictor


def log_model_plots(client: MlflowClient, run_id: str, predictor: Predictor, judged: Evaluation) -> None:
    """The registered model's errors on the test months, under ``plots/``."""
    rows = judged.rows
    figures = {
        "residuals.png": model_plots.residuals(rows.y, judged.predicted),
        "error_by_hour.png": model_plots.error_by_hour(rows.hour, judged.error),
        "error_by_zone.png": model_plots.error_by_zone(rows.zone, judged.error),
        "interval_coverage.png": model_plots.interval_coverage(rows.y, judged.predicted, judged.low, judged.high),
        "importance.png": search_plots.importance(predictor.estimator.importance(), "columns"),
    }
    with tempfile.TemporaryDirectory(prefix="plots-") as folder:
        for name, figure in figures.items():
            plotting.save(figure, Path(folder, name))
        client.log_artifacts(run_id, folder, names.PLOTS)
