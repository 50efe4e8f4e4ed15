"""Start another step of this project as a child run, through `mlflow run`, and wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.projects.utils import get_or_create_run
from mlflow.utils.process import ShellCommandException

from provenance.record import names
from provenance.store.paging import every
from provenance.store.project_identity import is_ours
from runtime.server_errors import server_error

if TYPE_CHECKING:
    from provenance.pipeline.session import Session


class ChainError(ValueError):
    """A step that was started for another one failed; its own message stands above."""


@contextlib.contextmanager
def addressed(project: Path) -> Iterator[str]:
    """The folder `project` as MLflow finds it, to whom `#` begins a subfolder, .zip is an archive, quotes are none."""
    path = str(project)
    if "#" in path or path.endswith(".zip") or path.strip("'\"") != path:
        with contextlib.chdir(project):
            yield "."
    else:
        yield path


def launch(session: Session, step: str, parameters: Mapping[str, str]) -> Run:
    """Run entry point `step` under the session's run, in the environment manager that it was started with.

    The manager is MLflow's own tag on that run (absent for `local`); without it MLflow would fall back to conda.
    Raises ChainError when the step fails.
    """
    manager = session.open_run.data.tags.get(names.PROJECT_ENV, "local")
    run_id, error = started(session, session.root, step, parameters, manager)
    if error or run_id is None:
        raise ChainError(f"step {step} failed: {error}")
    return session.client.get_run(run_id)


def started(
    session: Session, folder: Path, step: str, parameters: Mapping[str, str], manager: str
) -> tuple[str | None, str | None]:
    """Run entry point `step` of the project in `folder` under the session's run and wait.

    Returns its run, and why it failed, if so.

    The run is made first, by the function with which `mlflow run` makes it: so its id is known however the launch
    ends, and it is marked as ours before its environment is built and its step comes up.
    """
    client, parent = session.client, session.open_run
    run_id, left, status = None, {"RUNNING"}, "FAILED"
    try:
        with addressed(folder) as uri:
            run = get_or_create_run(None, uri, parent.info.experiment_id, str(folder), None, step, dict(parameters))
            run_id = run.info.run_id
            client.set_tag(run_id, names.PROJECT, session.project)
            mlflow.projects.run(
                uri,
                step,
                parameters=dict(parameters),
                experiment_id=parent.info.experiment_id,
                env_manager=manager,
                run_id=run_id,
            )
    except KeyboardInterrupt:
        left, status = {"RUNNING", "FAILED"}, "KILLED"  # MLflow marks as failed what had no time to say more
        raise
    except (MlflowException, ShellCommandException) as error:
        if server_error(error):
            raise  # nothing is wrong with the step
        return run_id, str(error)
    finally:
        if run_id:
            with contextlib.suppress(MlflowException):  # the server is away, or this user may no longer write
                if client.get_run(run_id).info.status in left:
                    client.set_terminated(run_id, status)
    return run_id, None


def children(client: MlflowClient, parent: Run, project: str) -> list[Run]:
    """The child runs that a step of `project` started under `parent`; not trials, which a step makes itself."""
    query = f"tags.`{names.PARENT}` = '{parent.info.run_id}' and tags.`{names.ENTRY_POINT}` != ''"
    found = every(client.search_runs, [parent.info.experiment_id], query)
    return [run for run in found if is_ours(run, project)]
