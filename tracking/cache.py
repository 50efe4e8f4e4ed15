"""From a key to the finished run whose outputs stand for running the step again, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tracking import code, names
from tracking.artifacts import ArtifactError, fetched, problems
from tracking.environment import Environment, LockError, differences
from tracking.lineage import Lineage, LineageError, Output
from tracking.paging import every

LATEST = 253_402_300_799_000  # milliseconds: the end of the year 9999; a server may say any number
PAGE = 50  # runs a page; the newest whole one wins, so the first page nearly always suffices


@dataclass(frozen=True)
class Hit:
    """A finished run with the wanted key, all of whose outputs are there and whole."""

    run_id: str
    user: str
    end_time: int  # milliseconds since the epoch
    lineage: Lineage
    metrics: dict[str, float]

    @property
    def outputs(self) -> dict[str, Output]:
        return {output.name: output for output in self.lineage.outputs}


@dataclass(frozen=True)
class Miss:
    """Why nothing can be reused: a run of the same key whose outputs are not whole, or no such run at all."""

    reasons: tuple[str, ...] = ()


def experiments(client: MlflowClient) -> list[str]:
    """Every experiment this user can read: colleagues share outputs whatever experiment they work in."""
    return [experiment.experiment_id for experiment in every(client.search_experiments)]


def finished(client: MlflowClient, experiment_ids: list[str], condition: str) -> Iterator[Run]:
    """Finished runs of this project that left outputs of their own, newest first."""
    query = f"attributes.status = 'FINISHED' and tags.`{names.OUTPUTS}` != '' and {condition}"
    newest_first = ["attributes.start_time DESC"]
    for run in every(client.search_runs, experiment_ids, query, max_results=PAGE, order_by=newest_first):
        if run.info.end_time and 0 < run.info.end_time < LATEST:
            yield run


def recorded(client: MlflowClient, run: Run) -> Lineage:
    """The run's lineage.json, refused when its outputs are not those its tag stands for."""
    with fetched(f"runs:/{run.info.run_id}/{names.LINEAGE_FILE}") as path:
        lineage = Lineage.from_json(path.read_bytes())
    wanted = run.data.tags.get(names.OUTPUTS)
    if wanted is not None and lineage.outputs_digest() != wanted:
        raise LineageError(f"lineage.json of run {run.info.run_id} was altered after the run\n Do not use the run.")
    return lineage


def find(client: MlflowClient, experiment_ids: list[str], key: str) -> Hit | Miss:
    """The newest run with `key` whose outputs are whole. Every file is checked against its recorded digest."""
    reasons: list[str] = []
    for run in finished(client, experiment_ids, f"tags.`{names.KEY}` = '{key}'"):
        try:
            lineage = recorded(client, run)
        except (ArtifactError, LineageError, MlflowException) as error:
            reasons.append(str(error).splitlines()[0])
            continue
        damaged = [problem for output in lineage.outputs for problem in problems(output)]
        if not damaged:
            user = run.data.tags.get(names.USER, "unknown")
            return Hit(run.info.run_id, user, run.info.end_time, lineage, dict(run.data.metrics))
        reasons += damaged
    return Miss(tuple(reasons))


def nearest(client: MlflowClient, experiment_ids: list[str], wanted: Lineage) -> Lineage | None:
    """Of the latest finished runs of the same step, the one whose record differs least from `wanted`."""
    best: tuple[int, Lineage] | None = None
    for count, run in enumerate(finished(client, experiment_ids, f"tags.`{names.STEP}` = '{wanted.step}'")):
        if count == PAGE:
            break
        try:
            lineage = recorded(client, run)
            distance = len(changes(lineage, wanted))
        except (ArtifactError, LineageError, LockError, MlflowException):
            continue  # unreadable records explain nothing
        if best is None or distance < best[0]:
            best = distance, lineage
    return best[1] if best else None


def changes(old: Lineage, new: Lineage) -> list[str]:
    """What differs between two records of one step in the parts the key is made of, in words."""
    found = []
    for name in sorted({*old.params, *new.params}):
        before, after = old.params.get(name, "absent"), new.params.get(name, "absent")
        if before != after:
            found.append(f"{name} {before} -> {after}")
    before_inputs, after_inputs = old.components()["inputs"], new.components()["inputs"]
    for role in sorted({*before_inputs, *after_inputs}):
        before, after = before_inputs.get(role), after_inputs.get(role)
        if before != after:
            found.append(f"input {role} {(before or 'absent')[:12]} -> {(after or 'absent')[:12]}")
    found += [f"code of {module}" for module in code.changed(old.code, new.code)]
    if old.environment_key != new.environment_key:
        before, after = Environment.from_dict(old.environment), Environment.from_dict(new.environment)
        found += [line for line in differences(before, after) if line.split()[0] in ("python", "lock:", "installed:")]
    return found
