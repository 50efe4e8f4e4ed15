"""Repeat recorded steps in order, and judge each. A step reads the outputs of the repeated steps before it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from provenance.pipeline.declaration import ExternalInputs
from provenance.pipeline.session import RunError, Session
from provenance.record.artifacts import ArtifactError, problems
from provenance.record.lineage import LineageError
from provenance.record.problem import Problem, ProblemKind
from provenance.record.validation import without_remedy
from provenance.reproduce import replay
from provenance.reproduce.differences import find_differences
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import Grade, StepVerdict, Verdict, failed, judge
from provenance.reuse.revoke import revoke
from runtime.progress import numbered

RECORDED = "recorded"


class ReproductionError(ValueError):
    """A repetition could not be started, so there is no verdict."""


@dataclass(frozen=True)
class ReplayOptions:
    """How to repeat a run.

    location: where the external inputs are, or RECORDED.
    workers: number of trials at once; 0 for all cores.
    env_manager: the environment manager, or "auto" for the recorded one.
    tolerance: relative distance of metrics that still counts as close.
    changes: parameters to replace, for an ablation.
    other_code: whether the code differs from the recorded code, in an ablation.
    own: whether the records come from a store to which only this user writes.
    """

    location: str = RECORDED
    workers: int = 0
    env_manager: str = "auto"
    tolerance: float = 0.0
    changes: Mapping[str, str] = field(default_factory=dict)
    other_code: bool = False
    own: bool = False


class Projects(Protocol):
    """Gives the code of recorded runs. It is a RecordedCode, or code in which a part is taken from another run."""

    def project(self, original: RecordedRun) -> Path:
        """The project folder for `original`. Raises CodeRefused or CodeSourceError."""
        ...


def reproduce(session: Session, originals: list[RecordedRun], code: Projects, options: ReplayOptions) -> Verdict:
    """Repeat recorded runs, and judge each repetition. It stops at the first step that fails.

    The repeated runs are children of the session's run. They cannot be reused, and the registry does not change.

    Parameters
    ----------
    session : Session
        The session of the open run.
    originals : list of RecordedRun
        The runs to repeat, each after the runs from which it was made.
    code : Projects
        Gives the code of each run.
    options : ReplayOptions
        How to repeat.

    Returns
    -------
    Verdict
        The verdicts on the steps, in order.

    Raises
    ------
    ReproductionError
        If a step could not be started: an input was made by no run, external inputs are not found, or its environment
        could not be built.
    ReplayError
        If the record does not allow to start a step.
    CodeRefused, CodeSourceError
        If the code of a run is foreign or altered, or cannot be fetched.
    """
    for original in originals:  # refuse before anything runs
        check_inputs(original)
    projects = {original.run_id: code.project(original) for original in originals}
    for original in originals:
        replay.manager(original, options.env_manager)
        check_external(session, original, options)
    steps: list[StepVerdict] = []
    made: dict[str, str] = {}  # recorded run -> its repetition
    registers = any(session.pipeline.step(original.lineage.step).registers for original in originals)
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        try:
            with replay.scratch_registry(Path(folder)) if registers else contextlib.nullcontext():
                for original in numbered(originals, "reproduce", lambda recorded: recorded.lineage.step):
                    steps.append(_step(session, original, projects[original.run_id], options, made))
                    session.say(f"{original.lineage.step}: {steps[-1].grade}")
                    if steps[-1].error:
                        break
        finally:
            for run_id in made.values():
                revoke(session.client, run_id, session.project)
    return Verdict(tuple(steps))


def _step(
    session: Session, original: RecordedRun, project: Path, options: ReplayOptions, made: dict[str, str]
) -> StepVerdict:
    changes = {"workers": str(options.workers), "quiet": str(session.quiet).lower(), **options.changes}
    if external := session.pipeline.external(original.lineage.step):
        # The location comes from the checked record, not from the parameter that MLflow logged.
        changes[external.location] = original.location if options.location == RECORDED else options.location
    for item in original.of_steps:
        above, output = original.upstream.get(item.role, (None, None))
        if above in made:
            changes[item.role] = f"runs:/{made[above]}/{output}"
        else:
            changes[item.role] = item.uri
            if damage := input_damage(session, original, item.role):
                return failed(original.made, "not repeated: its recorded input is not what it was", damage)
    given = replay.parameters(project, original, changes)
    env_manager = replay.manager(original, options.env_manager)
    repeated = replay.launch(session, project, original.lineage.step, given, env_manager)
    if repeated.run_id:
        made[original.run_id] = repeated.run_id
    if repeated.made:
        return judge(original.made, repeated.made, session.pipeline, options.tolerance, original.damage,
                     same_code=not options.other_code)  # fmt: skip
    if repeated.tried is None:
        raise ReproductionError(
            f"step {original.lineage.step} could not be started: {repeated.error}\n"
            f" See the lines above; -P env_manager= chooses another environment manager than {env_manager}."
        )
    found = find_differences(original.lineage, repeated.tried, session.pipeline)
    return failed(original.made, f"the repetition failed: {repeated.error}", original.damage, found, repeated.run_id)


def input_damage(session: Session, original: RecordedRun, role: str) -> tuple[Problem, ...]:
    """How an input artifact differs from the one that `original` read."""
    item = next(item for item in original.lineage.inputs if item.role == role)
    above, output_name = original.upstream[role]
    try:
        output = session.hit(above).outputs.get(output_name)
    except (RunError, LineageError, ArtifactError) as error:
        return (Problem(ProblemKind.UNREADABLE, detail=without_remedy(error), input=role),)
    found = output.digest if output else None
    if output is None or found != item.digest:
        return (Problem(ProblemKind.REPLACED, recorded=item.digest, found=found, input=role),)
    return tuple(replace(problem, input=role) for problem in problems(output))


def check_inputs(original: RecordedRun) -> None:
    """Raise ReproductionError if a step read an input that no run made.

    A record comes from a stranger, so only artifacts of the tracking store are opened, and no folder or address.
    """
    for item in original.of_steps:
        if item.role not in original.upstream:
            raise ReproductionError(
                f"run {original.run_id} read its {item.role} at {item.uri:.200}, which no run made\n"
                " Such an address in a record is not opened: make the run again from a run of the step before."
            )


def location_of(external: ExternalInputs, original: RecordedRun, options: ReplayOptions) -> str:
    """The location of external inputs: the one that the user gave, or the recorded one.

    A recorded location is used only if the record comes from the user's own store (`options.own`) or if the location
    means the same on each machine. Raises ReproductionError otherwise.
    """
    if options.location != RECORDED:
        return options.location
    if options.own or external.same_for_everybody(original.location):
        return original.location
    raise ReproductionError(
        f"run {original.run_id} read each {external.noun} at {original.location:.200}, according to its record, which "
        f"may be untrue\n Say where they are: {external.remedy}."
    )


def check_external(session: Session, original: RecordedRun, options: ReplayOptions) -> None:
    """Check the external inputs before any step runs, and print those that differ from the record.

    Raises ReproductionError if they are not found.
    """
    external = session.pipeline.external(original.lineage.step)
    if external is None:
        return
    location, wanted = location_of(external, original, options), {item.role: item.digest for item in original.external}
    try:
        found = external.digests(location, original.lineage.params, sorted(wanted))
        if external.made_by_code(location):
            return  # the digest of a generated file is known only after it was read
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise ReproductionError(
            f"{first}\n Say where each {external.noun} is on this machine: {external.remedy}"
        ) from error
    for role, digest in sorted(wanted.items()):
        if found.get(role) != digest:
            session.say(f"{external.noun} {role} of {location} is not the recorded one: sha256 "
                        f"{str(found.get(role))[:12]}, recorded {digest[:12]}")  # fmt: skip


def passes(verdict: Verdict, require: str) -> bool:
    """Whether the grade is `require` or better. `require` is one of GRADES."""
    return verdict.grade >= Grade[require.upper()]
