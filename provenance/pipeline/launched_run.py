"""The run of a step. MLFLOW_RUN_ID is followed only if `mlflow run` made that run for this step."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_ID = "MLFLOW_RUN_ID"


@contextlib.contextmanager
def own_run(entry_point: str) -> Iterator[Run]:
    """The open MLflow run of this step. It is created now if no launcher created one."""
    import mlflow

    from provenance.pipeline.shutdown import let_go

    launched(entry_point)
    with mlflow.start_run() as run:
        try:
            yield run
        except KeyboardInterrupt as error:
            let_go(error)  # before MLflow writes the end of the run
            raise
    _remove_process_tags(run.info.run_id)


def _remove_process_tags(run_id: str) -> None:
    """Delete the tags that only a RUNNING run needs.

    Call it after the run has ended, so that the process of a RUNNING run is always known.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from provenance.record import names

    client = MlflowClient()
    with contextlib.suppress(MlflowException):  # the store refuses to, or is gone: the run is finished all the same
        for name in sorted(client.get_run(run_id).data.tags.keys() & {*names.ALIVE}):
            client.delete_tag(run_id, name)


def launched(entry_point: str) -> Run | None:
    """The run that `mlflow run -e entry_point` made for this process; None if the step was started without it.

    MLflow writes into any run that MLFLOW_RUN_ID names, even into the run of another user. So a run that was not made
    for this process is refused. Raises Refused.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from runtime.server_errors import server_error

    if not (run_id := os.environ.get(RUN_ID)):
        return None
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if server_error(error):
            raise
        raise _refused(run_id, error.message.splitlines()[0]) from error
    if reason := _not_made_for(run, entry_point):
        raise _refused(run_id, reason)
    return run


def _not_made_for(run: Run, entry_point: str) -> str | None:
    """Why the launcher cannot have made `run` for this step, or None. Such a run is new: no step has written to it."""
    from provenance.record import names

    tags = run.data.tags
    if run.info.lifecycle_stage != "active" or run.info.status != "RUNNING":
        return f"it is {run.info.status}"
    if tags.get(names.ENTRY_POINT) != entry_point:
        return f"it is a run of {tags.get(names.ENTRY_POINT, 'no entry point')!r:.50}"
    if names.PROCESS in tags or names.STEP in tags or names.TRIAL in tags:
        return "another process works on it"
    if (user := _user()) and tags.get(names.USER) != user:
        return f"it is {tags.get(names.USER, 'nobody')!r:.50}'s"
    context = click.get_current_context(silent=True)
    declared = {parameter.name for parameter in context.command.params} if context else set()
    if missing := sorted(declared - run.data.params.keys()):
        return f"it has no parameter {missing[0]}"
    return None


def _user() -> str | None:
    """The name that MLflow records for this user; None for a user without a name."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return None


def _refused(run_id: str, reason: str) -> click.ClickException:
    from provenance.pipeline.cli import Refused

    return Refused(
        f"{RUN_ID} names run {run_id!r:.50}, which `mlflow run` did not make for this step: {reason:.200}\n"
        f" Unset {RUN_ID}, and start the step with `mlflow run`."
    )
