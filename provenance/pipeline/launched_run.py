"""The run of a step: the one that `mlflow run` made for it, and no other that MLFLOW_RUN_ID may name."""

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
    """The open MLflow run of this step; made now where no launcher made one."""
    import mlflow

    launched(entry_point)
    with mlflow.start_run() as run:
        yield run


def launched(entry_point: str) -> Run | None:
    """The run that `mlflow run -e entry_point` made for this process; None when nobody did.

    Everything that a step writes goes to it, and MLflow goes on with whatever run MLFLOW_RUN_ID names, also somebody
    else's. Raises Refused when that run was not made for this.
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
    """Why `run` cannot be the one that the launcher made for this step, which nobody has written to yet."""
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
    """This user as MLflow calls him; None for a user without a name."""
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
