"""Check whether a run can be repeated, and if not, say which run to give instead."""

from __future__ import annotations

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import RunError, Session
from provenance.record import names

OWN = ("reproduce", "compare", "bundle", "verify", "plan", "gc")  # entry points that make no outputs


def check(session: Session, run_id: str) -> None:
    """Raise RunError unless the run has finished and has made or reused outputs."""
    try:
        run = session.client.get_run(run_id)
    except MlflowException as error:
        raise RunError(f"run {run_id!r:.50} cannot be read: {error.message.splitlines()[0]:.200}\n Give a run's id of "
                       "this tracking store (MLFLOW_TRACKING_URI).") from error  # fmt: skip
    if reason := _why_not(session, run):
        raise RunError(f"run {run_id} {reason}")


def _why_not(session: Session, run: Run) -> str | None:
    tags, parent = run.data.tags, run.data.tags.get(names.PARENT)
    if names.TRIAL in tags:
        search = next((step.name for step in session.pipeline.steps if step.searches), "search")
        trial = f"is trial {tags[names.TRIAL]!r:.10} of {search} run {parent!r:.50}"
        return f"{trial}\n Give that one: a search is repeated whole."
    if of := tags.get(names.REPRODUCTION_OF):
        return f"is a verdict on run {of!r:.50}\n Give that one."
    if tags.get(names.ENTRY_POINT) in OWN:
        return f"is a run of {tags[names.ENTRY_POINT]}, which makes nothing to repeat\n Give the run it is about."
    if run.info.status in ("RUNNING", "SCHEDULED"):
        return "is still running\n Wait until it has finished."
    if run.info.status != "FINISHED":
        return f"did not finish ({run.info.status}), so there is nothing to compare with\n Give a finished run."
    if names.STEP not in tags:
        return "is no run of this project\n Give a run of main or of one of its steps."
    if names.OUTPUTS in tags or names.REUSED in tags:
        return None
    if parent and _entry_point(session, parent) in OWN:
        return f"is a repetition that run {parent} made to check another\n Give the run that it checked."
    return "left no finished outputs\n Give a finished run."


def _entry_point(session: Session, run_id: str) -> str | None:
    """The entry point of a run; None if it cannot be read."""
    try:
        return session.client.get_run(run_id).data.tags.get(names.ENTRY_POINT)
    except MlflowException:
        return None
