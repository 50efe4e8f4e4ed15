"""What the runs of this project say they read and made, of all experiments that this user can read.

One search reads all runs, a thousand a request, because their tags say it. A record is fetched only for a finished run
whose tags do not. Anyone may have written a tag: what is malformed is left out, item by item.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from provenance.record import names, run_tags
from provenance.record.artifacts import ArtifactError
from provenance.record.lineage import Input, Lineage, LineageError
from provenance.record.run_tags import Listed
from provenance.reuse import cache
from provenance.store.paging import every
from runtime.progress import bar, number_of

if TYPE_CHECKING:
    from provenance.pipeline.session import Session

AT_ONCE = 8  # records that are fetched at the same time
_ID = re.compile(r"[0-9a-f]{32}")
_STORED = re.compile(r"(runs:/[0-9a-f]{32}/[^/]+|models:/m-[0-9a-f]{32}|models:/[^/@:]+/[0-9]{1,9})/?")
_DIGEST, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class Made:
    """One output that a record names. `uri` is normal if it lies in the store: see `stored`."""

    name: str
    uri: str
    digest: str


@dataclass(frozen=True)
class RecordedRun:
    """What one run says of itself.

    step: the entry point; "" for a trial.
    finished: whether its outputs can be used. They cannot if it failed, still runs, or only checked another run.
    reused: the run that it stands for; "" if it did its own work.
    steps: for a chain, the runs of its steps.
    params: its parameters, by name.
    models: the ids of the logged models that it lists.
    """

    run_id: str
    step: str
    experiment: str
    user: str
    status: str
    ended: int  # milliseconds since the epoch
    active: bool  # False if it was deleted
    finished: bool
    parent: str
    reused: str
    trial: str
    commit: str
    environment: str
    params: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Made, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def by_reference(self) -> bool:
        """Whether its outputs are those of other runs."""
        return bool(self.reused or self.steps)


def stored(uri: str) -> str:
    """The URI of an output or model of the store, in the one form that is compared; "" for any other location."""
    match = _STORED.fullmatch(uri)
    return match[1] if match else ""


def read_runs(session: Session) -> dict[str, RecordedRun]:
    """Run id -> run, of all that carry the project's mark. Deleted ones are among them: others were made from them."""
    query = f"tags.`{names.PROJECT}` = '{session.project}'"
    found = {}
    session.say(f"reading the runs of {number_of(len(session.experiments), 'experiment')}")
    with contextlib.closing(bar("read", None, "runs")) as drawn, _without_garbage_collection():
        for run in every(session.client.search_runs, session.experiments, query, ViewType.ALL):
            found[run.info.run_id] = read_run(run)
            drawn.update(1)
    return found | _from_records([run for run in found.values() if _lacks_tags(run)])


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """While it is open, nothing is collected: a database's rows are many objects that stay in use for a whole page.

    Reading 12,000 runs from sqlite took 8.3 s of processor time with collection and 3.2 s without, in equal memory.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_run(run: Run) -> RecordedRun:
    """What the tags of a run say."""
    tags, info = run.data.tags, run.info
    reused, commit = tags.get(names.REUSED, ""), tags.get(names.COMMIT, "")
    return RecordedRun(
        run_id=info.run_id,
        step="" if names.TRIAL in tags else tags.get(names.STEP, ""),
        experiment=info.experiment_id,
        user=tags.get(names.USER) or info.user_id or "unknown",
        status=info.status,
        ended=_time(info.end_time) or _time(info.start_time),
        active=info.lifecycle_stage == "active",
        finished=info.status == "FINISHED" and bool(tags.keys() & {names.OUTPUTS, names.REUSED, names.TRIAL_RESULT}),
        parent=tags.get(names.PARENT, ""),
        reused=reused if _ID.fullmatch(reused) else "",
        trial=tags.get(names.TRIAL, ""),
        commit=commit if _COMMIT.fullmatch(commit) else "",
        environment=tags.get(names.ENVIRONMENT, ""),
        params=_params(run) if names.STEP in tags else {},
        steps=tuple(value for value in run_tags.steps(tags).values() if _ID.fullmatch(value)),
        inputs=tuple(Input(name, uri, digest) for name, uri, digest in _digested(run_tags.inputs(tags))),
        outputs=tuple(
            Made(name, stored(uri) or uri, digest) for name, uri, digest in _digested(run_tags.outputs(tags))
        ),
        models=tuple(output.model_id for output in run.outputs.model_outputs) if run.outputs else (),
    )


def _params(run: Run) -> dict[str, str]:
    """The parameters as the tags of earlier code have them, else as MLflow logged them."""
    return {**run.data.params, **run_tags.earlier_params(run.data.tags)}


def _time(value: int | None) -> int:
    return value if value and 0 < value < cache.LATEST else 0


def _digested(listed: Mapping[str, Listed]) -> Iterable[tuple[str, str, str]]:
    """(name, URI, digest) of each input or output that tags name with a digest."""
    for name, item in listed.items():
        if _DIGEST.fullmatch(item.digest):
            yield name, item.uri, item.digest


def _lacks_tags(run: RecordedRun) -> bool:
    return run.finished and bool(run.step) and not run.inputs and not run.outputs


def _from_records(runs: list[RecordedRun]) -> dict[str, RecordedRun]:
    """The same runs with the inputs and outputs that their lineage.json names; those without a readable one stay."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return {run.run_id: run for run in threads.map(_from_record, runs)}


def _from_record(run: RecordedRun) -> RecordedRun:
    lineage = record_of(run.run_id)
    if lineage is None:
        return run
    made = tuple(Made(item.name, stored(item.uri) or item.uri, item.digest) for item in lineage.outputs)
    return replace(run, inputs=lineage.inputs, outputs=made)


def record_of(run_id: str) -> Lineage | None:
    """The record of a run; None if it cannot be read."""
    try:
        return cache.read(run_id)
    except (ArtifactError, LineageError, MlflowException):
        return None
