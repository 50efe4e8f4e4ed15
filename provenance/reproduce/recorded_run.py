"""Read the record of a run to repeat, and the records of the runs upstream of it. They are not trusted yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from provenance.pipeline.declaration import Pipeline
from provenance.pipeline.session import RunError, Session
from provenance.record import names, run_tags
from provenance.record.artifacts import ArtifactError, problems, small_file
from provenance.record.lineage import Input, Lineage
from provenance.record.problem import Problem
from provenance.reproduce import model_loading, repeatable
from provenance.reproduce.verdict import Made
from provenance.reuse.cache import LATEST, Hit
from provenance.signing import signatures
from provenance.signing.envelope import SignatureError
from provenance.signing.signatures import Record

_RUN_OUTPUT = re.compile(r"runs:/([0-9a-f]{32})/([\w-]+)")
_GIT_COMMIT = "mlflow.source.git.commit"
_PATCH_BYTES = 200_000_000  # the largest patch; provenance.git.patch has the same limit


@dataclass(frozen=True)
class RecordedRun:
    """The record of one step's run.

    logged: parameters as MLflow logged them, quoted for a shell.
    patch: the uncommitted changes.
    damage: artifacts that differ from the record.
    gone: artifacts that are missing. The run can still be repeated and judged.
    started, ended: milliseconds since the epoch; 0 if it is not known.
    record, signature: what is signed, and its signature; None if there is none. Nobody has checked it yet.
    """

    made: Made
    logged: Mapping[str, str]
    patch: bytes | None = None
    damage: tuple[Problem, ...] = ()
    gone: tuple[Problem, ...] = ()
    # For inputs that a recorded run made: role -> (run id, output name) of that run.
    upstream: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    external: tuple[Input, ...] = ()  # the inputs that no step made
    started: int = 0
    ended: int = 0
    record: Record | None = field(default=None, repr=False)
    signature: bytes | None = field(default=None, repr=False)

    @property
    def run_id(self) -> str:
        """The id of the run that made the outputs."""
        return self.made.run_id

    @property
    def lineage(self) -> Lineage:
        """The record of that run."""
        return self.made.lineage

    @property
    def location(self) -> str:
        """The location of the external inputs, according to the record; "" if there are none."""
        return self.external[0].uri if self.external else ""

    @property
    def of_steps(self) -> tuple[Input, ...]:
        """The inputs that steps made."""
        return tuple(item for item in self.lineage.inputs if item not in self.external)


def external_of(pipeline: Pipeline, lineage: Lineage) -> tuple[Input, ...]:
    """The inputs of a record that no step made, according to the declaration of its step."""
    step = pipeline.by_name.get(lineage.step)
    if step is None or step.external is None:
        return ()
    needed = {need.param for need in step.needs}
    return tuple(item for item in lineage.inputs if item.role not in needed)


def step_runs(session: Session, run_id: str) -> list[str]:
    """The ids of the step runs that `run_id` stands for.

    For a run of a step that is the run itself or the run that it reused. For a run of a chain such as `main` these are
    the runs of its steps. Raises RunError if the run cannot be repeated.
    """
    run_id = run_id.removeprefix("runs:/").strip("/")  # the form in which MLflow's pages name a run
    repeatable.check(session, run_id)
    hit = session.hit(run_id)
    if hit.lineage.step in session.pipeline.by_name:
        return [hit.run_id]
    tags = session.client.get_run(hit.run_id).data.tags
    linked = run_tags.steps(tags)
    if not linked:
        raise RunError(f"run {run_id} is a run of {hit.lineage.step!r:.40}, which makes nothing to repeat\n "
                       f"Give a run of {session.pipeline.repeatable}.")  # fmt: skip
    made = [session.hit(text) for text in linked.values()]
    if session.only_signed and not all(_is_part(hit, step) for step in made):  # nobody signed the tags
        raise RunError(f"run {run_id} names other runs in its tags than its signed record\n Do not use it.")
    return list(dict.fromkeys(step.run_id for step in made))


def _is_part(chain: Hit, step: Hit) -> bool:
    """Whether the outputs of `step` are recorded as outputs of `chain`."""
    return all(replace(output, name=f"{step.lineage.step}.{name}") == chain.outputs.get(f"{step.lineage.step}.{name}")
               for name, output in step.outputs.items())  # fmt: skip


def read(session: Session, run_id: str) -> RecordedRun:
    """The record of a finished run of a step. Raises RunError, LineageError or ArtifactError."""
    hit = session.hit(run_id)
    if hit.lineage.step not in session.pipeline.by_name:
        steps = ", ".join(session.pipeline.names)
        raise RunError(f"run {run_id} is a run of {hit.lineage.step!r:.40}, not of {steps}")
    run = session.client.get_run(hit.run_id)
    _check_tags(hit.run_id, hit.lineage, run.data.tags)
    found = [problem for output in hit.lineage.outputs for problem in problems(output)]
    return RecordedRun(
        made=Made(hit.run_id, hit.lineage, hit.metrics, model_loading.settings(hit.lineage.outputs)),
        logged=dict(run.data.params),
        patch=_patch(hit.run_id) if hit.lineage.source.get("dirty") else None,
        damage=tuple(problem for problem in found if not problem.gone),
        gone=tuple(problem for problem in found if problem.gone),
        upstream=upstream(hit.lineage),
        external=external_of(session.pipeline, hit.lineage),
        started=_known(run.info.start_time),
        ended=_known(run.info.end_time),
        record=hit.record,
        signature=_signature(hit.run_id),
    )


def _known(milliseconds: int | None) -> int:
    """A time that a server sent; 0 if it is none."""
    return milliseconds if milliseconds and 0 < milliseconds < LATEST else 0


def _check_tags(run_id: str, lineage: Lineage, tags: Mapping[str, str]) -> None:
    """Raise RunError if a tag of the run differs from its record: then one of them was altered."""
    recorded = run_tags.expected(lineage, tags)
    if _GIT_COMMIT in tags and (commit := recorded.get(names.COMMIT)):
        recorded[_GIT_COMMIT] = commit
    for name in sorted(recorded):
        if tags.get(name) != recorded[name]:
            raise RunError(
                f"tag {name} of run {run_id} is {tags.get(name)!r:.120}, its {names.LINEAGE_FILE} says "
                f"{recorded[name]!r:.120}\n One of them was changed after the run: do not use the run."
            )


def upstream(lineage: Lineage) -> dict[str, tuple[str, str]]:
    """For the inputs that a run made: role -> (run id, output name)."""
    found = {item.role: _RUN_OUTPUT.fullmatch(item.uri) for item in lineage.inputs}
    return {role: (match[1], match[2]) for role, match in found.items() if match}


def chain_of(session: Session, run_id: str, everything: bool = True) -> list[RecordedRun]:
    """The records of the steps that a run is made of, in order; with `everything`, of all upstream runs too."""
    return in_order(step_runs(session, run_id), lambda above: read(session, above), everything)


def in_order(wanted: list[str], read_one: Callable[[str], RecordedRun], everything: bool) -> list[RecordedRun]:
    """The records of the wanted runs, each after the runs from which it was made. Raises RunError for a cycle.

    read_one: reads the record of a run. everything: whether to add all upstream runs.
    """
    found: dict[str, RecordedRun] = {}

    def add(run_id: str, below: tuple[str, ...]) -> None:
        if run_id in found:
            return
        if run_id in below:
            raise RunError(f"run {run_id} was made from itself, according to its record: it was altered\n"
                           " Do not use it.")  # fmt: skip
        original = read_one(run_id)
        for above, _ in original.upstream.values():
            if everything or above in wanted:
                add(above, (*below, run_id))
        found[run_id] = original

    for run_id in wanted:
        add(run_id, ())
    return list(found.values())


def _signature(run_id: str) -> bytes | None:
    try:
        return signatures.fetch(run_id)
    except SignatureError:
        return b""  # there is one, which is not valid


def _patch(run_id: str) -> bytes | None:
    try:
        return small_file(f"runs:/{run_id}/{names.PATCH_FILE}", _PATCH_BYTES)
    except ArtifactError:
        return None
