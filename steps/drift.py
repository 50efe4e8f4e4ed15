"""drift: a registered model on new months: which inputs moved since its training, and what that did to its error."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.declaration import Parameters
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import publish_report, report_run
from steps.options import StepCommand, options, xgboost_alone
from steps.pipeline import PIPELINE
from steps.raw_months import fetching
from taxi.months.month import Month

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Input, Lineage
    from steps.models.registered import Registered
    from taxi.evaluation.drift_report import Drift


@click.command(cls=StepCommand)
@options("registered", "source", "months", "fail_above", "quiet")
@checked(early=xgboost_alone)
def drift(**params: Any) -> None:
    """Compare new months with those a model learned from; exit 1 if its RMSE rose by more than fail_above per cent."""
    from mlflow.entities import Metric

    from provenance.record.writer import record_finish, record_start, upload_patch
    from steps import names as trip_names
    from steps.models import registered
    from steps.pages.drift_page import about, log_drift_plots
    from taxi.evaluation.drift_report import markdown

    if params["months"] == "none":
        raise Refused("Give the new months: -P months=2023-04")
    with report_run(PIPELINE, "drift", params) as session, tempfile.TemporaryDirectory(prefix="drift-") as scratch:
        model = registered.registered(session, params["model"])
        dataset = registered.dataset_of(session, model)
        located = months(params, model.predictor.taxi, Path(scratch))
        lineage = lineage_of(session, params, model, dataset, located)
        record_start(session, lineage)
        upload_patch(session, lineage)
        found = compared(session, model, dataset, located)
        client, run_id = session.client, session.run_id
        client.log_batch(run_id, metrics=[Metric(name, value, 0, 0) for name, value in found.metrics().items()])
        log_drift_plots(client, run_id, found)
        report = markdown(found, model.uri)
        publish_report(session, report, found.to_dict(), {trip_names.TAXI: found.taxi}, file=trip_names.DRIFT_FILE)
        record_finish(session, lineage, about=about(session.open_run.info, found, lineage), note=report)
        for line in found.lines():
            echo(line)
        echo(f"run {run_id}")
    if params["fail_above"] and found.change > params["fail_above"]:
        echo(f"RMSE rose by {found.change:.1f} %, more than the {params['fail_above']:g} % allowed.", err=True)
        sys.exit(1)


def months(params: Parameters, taxi: str, scratch: Path) -> list[Month]:
    """The new months, found at the source. Raises ValueError or DataSourceError."""
    from taxi.months.month import parse_months
    from taxi.sources.locate import locate

    return locate(params["source"], taxi, parse_months(params["months"]), scratch=scratch, **fetching())


def lineage_of(
    session: "Session", params: Parameters, model: "Registered", dataset: "Input", located: list[Month]
) -> "Lineage":
    """What this run was made of."""
    from provenance.record.lineage import Input

    raw = tuple(Input(month.name, month.origin, month.digest) for month in located)
    return session.lineage(
        "drift",
        params={"months": params["months"]},
        placement={"source": params["source"], "model": params["model"]},
        inputs=(model.input, dataset, *raw),
        key_inputs={},
    ).with_key()


def compared(session: "Session", model: "Registered", dataset: "Input", located: list[Month]) -> "Drift":
    """What moved, and what that did to the error; the trips that were read are logged."""
    from provenance.record.artifacts import open_verified
    from provenance.record.dataset_inputs import log_files
    from runtime.progress import following
    from steps.pages.split_inputs import log_splits
    from taxi.dataset.dataset import Dataset
    from taxi.evaluation.drift_report import measure

    with open_verified(dataset) as folder, following("drift", "trips", session.progress) as progress:
        opened = Dataset.open(folder)
        found = measure(model.predictor, opened, located, model.learned, progress)
        read = (*model.learned, found.judged)
        log_splits(session.client, session.run_id, opened.folder, opened.manifest, dataset.uri, read)
        files = [(f"{month.taxi} {month.name}", month.origin, month.digest) for month in located]
        log_files(session.client, session.run_id, files, "new months")
    return found


if __name__ == "__main__":
    drift()
