"""predict: raw trips in a file -> minutes for every row in another, by a registered model."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.declaration import Parameters
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import report_run
from steps.options import StepCommand, options, xgboost_alone
from steps.pipeline import PIPELINE

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Lineage
    from steps.models.registered import Registered
    from taxi.models.predictor import Predictor


@click.command(cls=StepCommand)
@options("registered", "trips", "out", "trust", "quiet")
@checked(early=xgboost_alone)
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
            counted = answered(session, model.predictor, trips, params["out"])
        finished = keep(session, lineage, params["out"], counted)
        told = lines(counted)
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


@dataclass
class Counted:
    """Rows of a file: how many have no prediction for which reason, with its first value; how many have which note."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def without(self) -> int:
        """Rows without a prediction."""
        return sum(self.reasons.values())


def answered(session: "Session", predictor: "Predictor", trips: "str | Path", out: str) -> Counted:
    """Write the predictions.

    Raises TableError, and writes nothing, when there are rows and none of them has a prediction.
    """
    from runtime.progress import following
    from taxi.batch.scoring import SCHEMA, WANTED_TIMES, answers, columns
    from taxi.batch.tables import TableError, open_table, table_writer

    found = Counted()
    with (
        open_table(str(trips), columns(predictor)) as table,
        table_writer(out, SCHEMA) as write,
        following("predict", "rows", session.progress) as progress,
    ):
        for batch in answers(predictor, table, found.reasons, found.firsts, found.notes):
            write(batch)
            found.rows += batch.num_rows
            progress(found.rows, table.rows or found.rows)
        if found.rows and found.without == found.rows:
            (reason, _), *_ = found.reasons.most_common()
            raise TableError(f"{table.uri}: none of its {found.rows:,} rows can be predicted: "
                             f"{shown(reason, found.firsts)}\n {WANTED_TIMES} Numbers: 1234.5.")  # fmt: skip
    return found


def keep(session: "Session", lineage: "Lineage", out: str, found: Counted) -> "Lineage":
    """The record with the file that was written, and the counts as metrics."""
    from dataclasses import replace

    from mlflow.entities import Metric

    from provenance.record.digest import list_file
    from provenance.record.lineage import Output
    from taxi.batch.tables import sha256_of
    from taxi.sources.locate import public

    digest, size = sha256_of(out)
    metrics = {"rows": found.rows, "rows_predicted": found.rows - found.without, "rows_without": found.without,
               "rows_with_note": sum(found.notes.values())}  # fmt: skip
    session.client.log_batch(session.run_id, metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()])
    listing = list_file(PurePosixPath(public(out)).name, size, digest)
    return replace(lineage, outputs=(Output.of("predictions", public(out), listing),))


def lines(found: Counted) -> list[str]:
    """How many rows have a prediction, why the others have none, and what was unknown of those that have one."""
    from taxi.features.feature_map import BETWEEN_NOTES

    unknown: Counter[str] = Counter()
    for note, count in found.notes.items():
        unknown.update(dict.fromkeys(note.split(BETWEEN_NOTES), count))
    reasons = [(shown(reason, found.firsts), count) for reason, count in found.reasons.most_common()]
    return [
        f"predicted {found.rows - found.without:,} of {found.rows:,} trips",
        *(f"no prediction for {count:,}: {text}" for text, count in reasons),
        *(f"{count:,} predicted although {note}" for note, count in unknown.most_common()),
    ]


def shown(reason: str, firsts: dict[str, str]) -> str:
    """The reason, with the first value it was given for where there was any."""
    return f"{reason}, first {firsts[reason]!r:.80}" if firsts[reason] else reason


if __name__ == "__main__":
    predict()
