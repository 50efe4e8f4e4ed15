"""Start another step of this project with `mlflow run`, as a child run, and wait for it."""

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
    """A step that this step started has failed. That step has printed its own message."""


@contextlib.contextmanager
def addressed(project: Path) -> Iterator[str]:
    """The address of the folder `project` for MLflow, usually its path.

    MLflow misreads a path with `#` (a subfolder follows), with .zip at its end (an archive) or with quotes around it
    (it removes them). For such a path the working folder changes to it and the address is ".".
    """
    path = str(project)
    if "#" in path or path.endswith(".zip") or path.strip("'\"") != path:
        with contextlib.chdir(project):
            yield "."
    else:
        yield path


def launch(session: Session, step: str, parameters: Mapping[str, str]) -> Run:
    """Run entry point `step` under the session's run, with the environment manager of that run.

    MLflow keeps the manager in a tag of the run; a run without the tag was started with `local`. It must be passed on,
    because MLflow's default is virtualenv or conda. Raises ChainError if the step fails.
    """
    manager = session.open_run.data.tags.get(names.PROJECT_ENV, "local")
    run_id, error = started(session, session.root, step, parameters, manager)
    if error or run_id is None:
        raise ChainError(f"step {step} failed: {error}")
    return session.client.get_run(run_id)


def started(
    session: Session, folder: Path, step: str, parameters: Mapping[str, str], manager: str
) -> tuple[str | None, str | None]:
    """Run entry point `step` of the project in `folder` under the session's run, and wait.

    Returns the id of its run, and the reason if it failed, else None.

    The run is created first, by the same function that `mlflow run` calls. So its id is known even if the launch
    fails, and it has the tag of this project before its environment is built.
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
        left, status = {"RUNNING", "FAILED"}, "KILLED"  # MLflow marks an interrupted step as failed
        raise
    except (MlflowException, ShellCommandException) as error:
        if server_error(error):
            raise  # the server failed, not the step
        return run_id, str(error)
    finally:
        if run_id:
            with contextlib.suppress(MlflowException):  # the server is not available, or this user may not write
                if client.get_run(run_id).info.status in left:
                    client.set_terminated(run_id, status)
    return run_id, None


def children(client: MlflowClient, parent: Run, project: str) -> list[Run]:
    """The steps of `project` that were started under run `parent`. Trials are not among them."""
    query = f"tags.`{names.PARENT}` = '{parent.info.run_id}' and tags.`{names.ENTRY_POINT}` != ''"
    found = every(client.search_runs, [parent.info.experiment_id], query)
    return [run for run in found if is_ours(run, project)]
