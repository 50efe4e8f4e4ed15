"""Find the finished run with a given key, so that its outputs can be reused, or say why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.pipeline.declaration import Pipeline
from provenance.record import code, names
from provenance.record.artifacts import ArtifactError, problems, small_file
from provenance.record.difference import Difference, DifferenceKind, changed_values
from provenance.record.digest import digest_json
from provenance.record.environment import Environment, LockError, environment_differences
from provenance.record.lineage import Lineage, LineageError, Output
from provenance.record.problem import Problem
from provenance.record.validation import without_remedy
from provenance.reuse import consistency
from provenance.signing.signatures import Record
from provenance.store.paging import every

LATEST = 253_402_300_799_000  # milliseconds: the end of the year 9999; a server can send any number
# The kinds of difference between environments that are part of the key.
KEYED = (DifferenceKind.PYTHON, DifferenceKind.LOCKED, DifferenceKind.LOCK_TEXT, DifferenceKind.INSTALLED)
PAGE = 50  # runs per request; the newest usable run is taken, so one request is nearly always enough


@dataclass(frozen=True)
class Hit:
    """A finished run with the wanted key and with complete, unaltered outputs."""

    run_id: str
    user: str
    end_time: int  # milliseconds since the epoch
    lineage: Lineage
    metrics: dict[str, float]
    record: Record | None = field(default=None, compare=False, repr=False)  # as it was read from the store

    @property
    def outputs(self) -> dict[str, Output]:
        """By name."""
        return {output.name: output for output in self.lineage.outputs}


class RunProblemKind(StrEnum):
    """Why a finished run with the wanted key cannot be reused, apart from problems of its outputs."""

    NOT_SIGNED = "not signed"  # by a trusted key, and only such runs are taken
    UNREADABLE = "unreadable"  # the record cannot be read
    OTHER_CONTENT = "other content"  # the record has another key than the tag
    METRICS_ALTERED = "metrics altered"
    INCONSISTENT = "inconsistent"  # the record contradicts the content of the outputs
    ALIAS_MOVED = "alias moved"  # an alias of the version that the run registered has moved


@dataclass(frozen=True)
class RunProblem:
    """One reason why a run cannot be reused.

    detail: the message of the error or of the check.
    differences: the parts of the key that differ, if the record has another key than the tag.
    """

    kind: RunProblemKind
    run_id: str
    detail: str = ""
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        if self.kind is RunProblemKind.OTHER_CONTENT:
            changed = ", ".join(difference.reason for difference in self.differences) or "its key"
            return f"run {self.run_id} has the tag of this key, but its record has other content ({changed:.200})"
        if self.kind is RunProblemKind.METRICS_ALTERED:
            return f"the metrics of run {self.run_id} were altered after the run"
        return self.detail


Reason = Problem | RunProblem


@dataclass(frozen=True)
class Miss:
    """No run can be reused. `reasons` is empty if no run has the key."""

    reasons: tuple[Reason, ...] = ()


def experiments(client: MlflowClient) -> list[str]:
    """The ids of all experiments that this user can read."""
    return [experiment.experiment_id for experiment in every(client.search_experiments)]


def finished(client: MlflowClient, experiment_ids: list[str], condition: str) -> Iterator[Run]:
    """Finished runs that have outputs of their own and meet `condition`, newest first."""
    query = f"attributes.status = 'FINISHED' and tags.`{names.OUTPUTS}` != '' and {condition}"
    newest_first = ["attributes.start_time DESC"]
    for run in every(client.search_runs, experiment_ids, query, max_results=PAGE, order_by=newest_first):
        if run.info.end_time and 0 < run.info.end_time < LATEST:
            yield run


def read(run_id: str) -> Lineage:
    """The lineage.json of a run, without a check of who wrote it. Raises ArtifactError or LineageError."""
    return Lineage.from_json(_record_text(run_id))


def _record_text(run_id: str) -> bytes:
    return small_file(f"runs:/{run_id}/{names.LINEAGE_FILE}")


def read_record(run: Run) -> Record:
    """The lineage.json of a run, and its bytes: what a signature is about. Raises ArtifactError or LineageError."""
    text = _record_text(run.info.run_id)
    metrics, project = metrics_digest(run.data.metrics), run.data.tags.get(names.PROJECT, "")
    return Record(run.info.run_id, Lineage.from_json(text), text, metrics, project)


def read_pinned(run: Run) -> Record:
    """The record of a finished run, checked against the digest of its outputs in the tag.

    Raises ArtifactError if it cannot be fetched. Raises LineageError if it is malformed or the digest differs. A run
    without the tag made no outputs, or its tag was deleted.
    """
    record = read_record(run)
    if record.lineage.outputs_digest() != run.data.tags.get(names.OUTPUTS):
        raise LineageError(f"lineage.json of run {run.info.run_id} was altered after the run\n Do not use the run.")
    return record


def read_lineage(run: Run) -> Lineage:
    """The same, without the bytes."""
    return read_pinned(run).lineage


def find(client: MlflowClient, experiment_ids: list[str], wanted: Lineage, pipeline: Pipeline,
         refused: Callable[[Record], str | None] = lambda record: None) -> Hit | Miss:  # fmt: skip
    """The newest usable run with the key of `wanted`, or the reasons why there is none.

    A stranger may have set the tags. So the key is computed again from the record, each file of each output is checked
    against its recorded digest, and the record is compared with the content of the outputs.

    refused: ``refused(record)`` says why a run is not taken because of whoever made it; None if it is.
    """
    reasons: list[Reason] = []
    for run in finished(client, experiment_ids, f"tags.`{names.KEY}` = '{wanted.key}'"):
        try:
            record = read_pinned(run)
            lineage, why = record.lineage, refused(record)
            if why:
                found: list[Reason] = [RunProblem(RunProblemKind.NOT_SIGNED, run.info.run_id, why)]
            else:
                found = disagreements(client, run, lineage, wanted, pipeline)
        except (ArtifactError, LineageError, LockError, MlflowException) as error:
            found = [RunProblem(RunProblemKind.UNREADABLE, run.info.run_id, without_remedy(error))]
        if not found:
            user = run.data.tags.get(names.USER, "unknown")
            return Hit(run.info.run_id, user, run.info.end_time, lineage, dict(run.data.metrics), record)
        said = {str(reason) for reason in reasons}
        reasons += [reason for reason in found if str(reason) not in said]
    return Miss(tuple(reasons))


def metrics_digest(metrics: Mapping[str, float]) -> str:
    """SHA-256 of a run's metrics, without those in `names.NOT_JUDGED`."""
    return digest_json({name: repr(value) for name, value in metrics.items() if not name.startswith(names.NOT_JUDGED)})


def disagreements(
    client: MlflowClient, run: Run, lineage: Lineage, wanted: Lineage, pipeline: Pipeline
) -> list[Reason]:
    """Why a run cannot be reused for `wanted`: another record, altered metrics, damaged outputs. Empty if it can.

    Raises ArtifactError or MlflowException if an output or its model version cannot be read.
    """
    run_id = run.info.run_id
    if lineage.components() != wanted.components() or lineage.key != wanted.key:
        return [RunProblem(RunProblemKind.OTHER_CONTENT, run_id, differences=tuple(changes(lineage, wanted)))]
    if metrics_digest(run.data.metrics) != run.data.tags.get(names.METRICS):
        return [RunProblem(RunProblemKind.METRICS_ALTERED, run_id)]
    if damaged := [problem for output in lineage.outputs for problem in problems(output)]:
        return [*damaged]
    found = consistency.inconsistent(client, run_id, lineage, pipeline)
    return [RunProblem(RunProblemKind.INCONSISTENT, run_id, detail) for detail in found]


def nearest(client: MlflowClient, experiment_ids: list[str], wanted: Lineage) -> Lineage | None:
    """The record that differs least from `wanted`, of the latest finished runs of the same step; None without any."""
    best: tuple[int, Lineage] | None = None
    for count, run in enumerate(finished(client, experiment_ids, f"tags.`{names.STEP}` = '{wanted.step}'")):
        if count == PAGE:
            break
        try:
            lineage = read_lineage(run)
            distance = len(changes(lineage, wanted))
        except (ArtifactError, LineageError, LockError, MlflowException):
            continue  # an unreadable record explains nothing
        if best is None or distance < best[0]:
            best = distance, lineage
    return best[1] if best else None


def changes(old: Lineage, new: Lineage) -> list[Difference]:
    """The differences between two records of one step, in the parts of the key."""
    found = changed_values(DifferenceKind.PARAMETER, old.params, new.params)
    found += changed_values(DifferenceKind.INPUT, old.keyed_inputs, new.keyed_inputs)
    found += code.changed(old.keyed_code, new.keyed_code)
    if old.engine != new.engine:
        found.append(Difference(DifferenceKind.ENGINE, "engine", str(old.engine), str(new.engine)))
    if old.environment_key != new.environment_key:
        before, after = Environment.from_dict(old.environment), Environment.from_dict(new.environment)
        found += [difference for difference in environment_differences(before, after) if difference.kind in KEYED]
    return found
