"""predict: raw trips in a file -> minutes for every row in another, by a registered model."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import contextlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.declaration import Parameters
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import report_run
from steps.options import StepCommand, options
from steps.pipeline import PIPELINE

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Lineage
    from steps.models.registered import Registered
    from taxi.models.predictor import Predictor


@click.command(cls=StepCommand)
@options("registered", "trips", "out", "trust", "quiet")
@checked
def predict(**params: Any) -> None:
    """Predict every row of a file of raw trips, in its order; a row that cannot be predicted says why."""
    from provenance.record.writer import record_finish, record_start, set_tags, upload_patch
    from steps import names as trip_names
    from steps.models.registered import registered

    if "none" in (params["trips"], params["out"]):
        raise Refused("Give the trips and the file to write: -P trips= -P out=")
    apart(params["trips"], params["out"])
    with report_run(PIPELINE, "predict", params) as session:
        model = registered(session, params["model"])
        with local(params["trips"]) as trips:
            apart(str(trips), params["out"])
            lineage = lineage_of(session, params, trips, model)
            record_start(session, lineage)
            upload_patch(session, lineage)
            rows, reasons, firsts = answered(session, model.predictor, trips, params["out"])
        finished = keep(session, lineage, params["out"], rows, reasons)
        told = lines(rows, reasons, firsts)
        set_tags(session.client, session.run_id, {trip_names.TAXI: model.predictor.taxi})
        about = (f"**{told[0]}**",) if told else ()
        record_finish(session, finished, about=about, note="\n".join(f"- {line}" for line in told[1:]))
        for line in [*told, f"predictions {finished.outputs[0].uri}", f"run {session.run_id}"]:
            echo(line)


def apart(trips: str, out: str) -> None:
    """Refuse to write over what is read, before anything is written."""
    from taxi.batch.tables import same_file

    if same_file(trips, out):
        raise Refused(f"trips and out are one file, {out}\n Write to another.")


def local(trips: str) -> contextlib.AbstractContextManager[str | Path]:
    """What MLflow stores is fetched; anything else is opened where it lies."""
    from provenance.record.artifacts import open_artifact

    stored = trips.startswith(("runs:/", "models:/", "mlflow-artifacts:/"))
    return open_artifact(trips, given=True) if stored else contextlib.nullcontext(trips)


def lineage_of(session: "Session", params: Parameters, trips: "str | Path", model: "Registered") -> "Lineage":
    """What this run was made of."""
    from provenance.record.dataset_inputs import log_files
    from provenance.record.lineage import Input
    from taxi.batch.tables import sha256_of
    from taxi.sources.locate import public

    digest, _ = sha256_of(str(trips))
    uri = public(params["trips"])
    log_files(session.client, session.run_id, [(f"trips {PurePosixPath(uri).name}", uri, digest)], "scored")
    return session.lineage(
        "predict",
        params={},
        placement={"model": params["model"]},
        inputs=(model.input, Input("trips", uri, digest)),
        key_inputs={},
    ).with_key()


def answered(
    session: "Session", predictor: "Predictor", trips: "str | Path", out: str
) -> tuple[int, Counter[str], dict[str, str]]:
    """Write the predictions; the rows, how many have none for which reason, and the first value of each reason.

    Raises TableError, and writes nothing, when there are rows and none of them has a prediction.
    """
    from runtime.progress import following
    from taxi.batch.scoring import SCHEMA, WANTED_TIMES, answers, columns
    from taxi.batch.tables import TableError, open_table, table_writer

    rows = 0
    reasons: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    with (
        open_table(str(trips), columns(predictor)) as table,
        table_writer(out, SCHEMA) as write,
        following("predict", "rows", session.progress) as progress,
    ):
        for batch in answers(predictor, table, reasons, firsts):
            write(batch)
            rows += batch.num_rows
            progress(rows, table.rows or rows)
        if rows and sum(reasons.values()) == rows:
            (reason, _), *_ = reasons.most_common()
            raise TableError(f"{table.uri}: none of its {rows:,} rows can be predicted: "
                             f"{shown(reason, firsts)}\n {WANTED_TIMES} Numbers: 1234.5.")  # fmt: skip
    return rows, reasons, firsts


def keep(session: "Session", lineage: "Lineage", out: str, rows: int, reasons: Counter[str]) -> "Lineage":
    """The record with the file that was written, and the counts as metrics."""
    from dataclasses import replace

    from mlflow.entities import Metric

    from provenance.record.digest import list_file
    from provenance.record.lineage import Output
    from taxi.batch.tables import sha256_of
    from taxi.sources.locate import public

    digest, size = sha256_of(out)
    metrics = {"rows": rows, "rows_predicted": rows - sum(reasons.values()), "rows_without": sum(reasons.values())}
    session.client.log_batch(session.run_id, metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()])
    listing = list_file(PurePosixPath(public(out)).name, size, digest)
    return replace(lineage, outputs=(Output.of("predictions", public(out), listing),))


def lines(rows: int, reasons: Counter[str], firsts: dict[str, str]) -> list[str]:
    """How many rows have a prediction, and why the others have none."""
    without = sum(reasons.values())
    found = [f"predicted {rows - without:,} of {rows:,} trips"]
    return found + [f"no prediction for {count:,}: {shown(reason, firsts)}" for reason, count in reasons.most_common()]


def shown(reason: str, firsts: dict[str, str]) -> str:
    """The reason, with the first value it was given for where there was any."""
    return f"{reason}, first {firsts[reason]!r:.80}" if firsts[reason] else reason


if __name__ == "__main__":
    predict()
