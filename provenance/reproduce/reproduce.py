"""Repeat recorded steps in order, each from the outputs that the steps before it should have, and judge each."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provenance.pipeline.session import RunError, Session
from provenance.record.artifacts import ArtifactError, problems
from provenance.record.lineage import LineageError
from provenance.reproduce import replay
from provenance.reproduce.recorded_code import RecordedCode
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import Grade, StepVerdict, Verdict, failed, judge
from provenance.reuse.revoke import revoke
from runtime.progress import counted

RECORDED = "recorded"


class ReproductionError(ValueError):
    """A repetition that could not even be tried, so that there is no verdict."""


@dataclass(frozen=True)
class ReplayOptions:
    """How to repeat: source and workers of this machine, environment manager, relative tolerance of metrics."""

    source: str = RECORDED
    workers: int = 0
    env_manager: str = "auto"
    tolerance: float = 0.0
    changes: Mapping[str, str] = field(default_factory=dict)  # parameters to replace, for experiments
    # Says, before anything runs, which inputs that no run made cannot be had here, or are not the recorded ones.
    check_inputs: Callable[[Session, RecordedRun, ReplayOptions], None] = lambda session, original, options: None
    other_code: bool = False  # than the recorded one, for experiments
    own: bool = False  # the records are of one's own store


def reproduce(session: Session, originals: list[RecordedRun], code: RecordedCode, options: ReplayOptions) -> Verdict:
    """Repeat `originals`, given in an order in which each comes after those it was made from; stop where it breaks.

    Repeated runs are children of the session's run; afterwards nobody can reuse them, and the registry is as it was.
    """
    for original in originals:  # refuse before anything runs
        check_inputs(original)
    projects = {original.run_id: code.project(original) for original in originals}
    for original in originals:
        replay.manager(original, options.env_manager)
        options.check_inputs(session, original, options)
    steps: list[StepVerdict] = []
    made: dict[str, str] = {}  # recorded run -> its repetition
    registers = any(original.lineage.step == "register" for original in originals)
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        try:
            with replay.scratch_registry(Path(folder)) if registers else contextlib.nullcontext():
                for original in counted(originals, "reproduce", len(originals), "steps", live=False):
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
    changes = {**options.changes, "workers": str(options.workers), "quiet": str(session.quiet).lower()}
    if options.source != RECORDED:
        changes["source"] = options.source
    elif original.months:  # what MLflow logged of it is another text, which nothing was compared with
        changes["source"] = original.months[0].uri
    for item in original.lineage.inputs if original.lineage.step != "preprocess" else ():
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
        return judge(original.made, repeated.made, options.tolerance, original.damage, same_code=not options.other_code)
    if repeated.tried is None:
        raise ReproductionError(
            f"step {original.lineage.step} could not be started: {repeated.error}\n"
            f" See the lines above; -P env_manager= chooses another environment manager than {env_manager}."
        )
    return failed(original.made, f"the repetition failed: {repeated.error}", original.damage, repeated.tried,
                  repeated.run_id)  # fmt: skip


def input_damage(session: Session, original: RecordedRun, role: str) -> tuple[str, ...]:
    """How an input artifact is not what it was when `original` read it."""
    item = next(item for item in original.lineage.inputs if item.role == role)
    above, output_name = original.upstream[role]
    try:
        output = session.hit(above).outputs.get(output_name)
    except (RunError, LineageError, ArtifactError) as error:
        return (f"input {role}: {str(error).splitlines()[0]}",)
    if output is None or output.digest != item.digest:
        return (f"input {role} is not the one recorded: sha256 {output.digest[:12] if output else 'absent'}, "
                f"recorded {item.digest[:12]}",)  # fmt: skip
    return tuple(f"input {role} was changed after it was made: {line}" for line in problems(output))


def check_inputs(original: RecordedRun) -> None:
    """Raise ReproductionError when a step but the first read anything else than the output of a run.

    A record is followed to the tracking store alone: a folder or an address in it may be one of the reader's.
    """
    for item in original.lineage.inputs if original.lineage.step != "preprocess" else ():
        if item.role not in original.upstream:
            raise ReproductionError(
                f"run {original.run_id} read its {item.role} at {item.uri:.200}, which no run made\n"
                " No record is followed there: make the run again from a run of the step before."
            )


def recorded_source(original: RecordedRun, own: bool) -> str:
    """Where the record says that the raw months were. Raises ReproductionError where no record may send a reader.

    The sample and TLC's own are the same for everybody; a folder or an address is followed in a record of one's `own`.
    """
    source = original.months[0].uri
    if own or source.split(":")[0] in ("sample", "tlc"):
        return source
    raise ReproductionError(
        f"run {original.run_id} read its months at {source:.200}, says its record, which may send you anywhere\n"
        " Say yourself where they are: -P source=FOLDER (or sample, tlc, a URI prefix)."
    )


def passes(verdict: Verdict, require: str) -> bool:
    return verdict.grade >= Grade[require.upper()]
