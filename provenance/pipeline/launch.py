"""Start other steps of this project with `mlflow run`, as child runs, and wait for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.projects.backend.loader import load_backend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import (
    MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG,
    PROJECT_BUILD_IMAGE,
    PROJECT_DOCKER_ARGS,
    PROJECT_DOCKER_AUTH,
    PROJECT_ENV_MANAGER,
    PROJECT_STORAGE_DIR,
    PROJECT_SYNCHRONOUS,
    get_or_create_run,
)
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_BACKEND
from mlflow.utils.process import ShellCommandException

from provenance.pipeline.shutdown import let_go
from provenance.record import names
from provenance.store.paging import every
from provenance.store.project_identity import is_ours
from runtime import progress
from runtime.server_errors import server_error

if TYPE_CHECKING:
    from provenance.pipeline.session import Session

LOOK_SECONDS = 0.05  # between two looks at steps that run side by side


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
    """Run entry point `step` under the session's run, with the environment manager of that run, and wait.

    Raises ChainError if the step fails.
    """
    run_id, error = started(session, session.root, step, parameters, _manager(session))
    if error or run_id is None:
        raise ChainError(f"step {step} failed: {error}")
    return session.client.get_run(run_id)


def launch_all(session: Session, steps: Mapping[str, Mapping[str, str]]) -> dict[str, Run]:
    """Run several entry points side by side, and wait for all. Each has its parameters in `steps`.

    The last one may draw its progress on a terminal; the others print lines. If one fails, or this process is
    interrupted, the others are ended. Raises ChainError if a step fails.
    """
    *earlier, last = steps
    if not earlier:
        return {last: launch(session, last, steps[last])}
    running: dict[str, SubmittedRun] = {}
    with contextlib.ExitStack() as stack:
        for step, parameters in steps.items():
            try:
                with progress.as_lines() if step != last else contextlib.nullcontext():
                    running[step] = _submit(session, step, parameters, stack)
            except (MlflowException, ShellCommandException) as error:
                if server_error(error):
                    raise
                raise ChainError(f"step {step} failed: {error}") from error
        run_ids = {step: submitted.run_id for step, submitted in running.items()}
        while running:
            for step, submitted in list(running.items()):
                status = submitted.get_status()
                if status == "FAILED":
                    raise ChainError(f"step {step} failed: Run (ID '{submitted.run_id}') failed")
                if status == "FINISHED":
                    del running[step]
            time.sleep(LOOK_SECONDS if running else 0)
    return {step: session.client.get_run(run_id) for step, run_id in run_ids.items()}


def _manager(session: Session) -> str:
    """The environment manager of the session's run.

    MLflow keeps it in a tag of the run; a run without the tag was started with `local`. It must be passed on, because
    MLflow's default is virtualenv or conda.
    """
    return session.open_run.data.tags.get(names.PROJECT_ENV, "local")


def _submit(session: Session, step: str, parameters: Mapping[str, str], stack: contextlib.ExitStack) -> SubmittedRun:
    """Start entry point `step` and do not wait. When `stack` is left, the step has ended."""
    experiment_id = session.open_run.info.experiment_id
    with addressed(session.root) as uri:
        run_id = _created(session, uri, session.root, step, parameters)
        stack.enter_context(_ended(session.client, run_id))
        session.client.set_tag(run_id, names.PROJECT, session.project)
        config = {
            PROJECT_ENV_MANAGER: _manager(session),
            PROJECT_SYNCHRONOUS: True,  # without another `mlflow run` between this process and the step
            PROJECT_DOCKER_ARGS: None,
            PROJECT_STORAGE_DIR: None,
            PROJECT_BUILD_IMAGE: False,
            PROJECT_DOCKER_AUTH: None,
            MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG: run_id,
        }
        backend = load_backend("local")
        submitted: SubmittedRun = backend.run(
            uri, step, dict(parameters), None, config, mlflow.get_tracking_uri(), experiment_id
        )
    stack.callback(submitted.cancel)
    session.client.set_tag(run_id, MLFLOW_PROJECT_BACKEND, "local")
    return submitted


def started(
    session: Session, folder: Path, step: str, parameters: Mapping[str, str], manager: str
) -> tuple[str | None, str | None]:
    """Run entry point `step` of the project in `folder` under the session's run, and wait.

    Returns the id of its run, and the reason if it failed, else None.
    """
    run_id = None
    try:
        with addressed(folder) as uri:
            run_id = _created(session, uri, folder, step, parameters)
            with _ended(session.client, run_id):
                session.client.set_tag(run_id, names.PROJECT, session.project)
                mlflow.projects.run(
                    uri,
                    step,
                    parameters=dict(parameters),
                    experiment_id=session.open_run.info.experiment_id,
                    env_manager=manager,
                    run_id=run_id,
                )
    except (MlflowException, ShellCommandException) as error:
        if server_error(error):
            raise  # the server failed, not the step
        return run_id, str(error)
    return run_id, None


def _created(session: Session, uri: str, folder: Path, step: str, parameters: Mapping[str, str]) -> str:
    """The id of a new run for `step`, made by the same function that `mlflow run` calls.

    So its id is known even if the launch fails, and it has the tag of this project before its environment is built.
    """
    experiment_id = session.open_run.info.experiment_id
    run = get_or_create_run(None, uri, experiment_id, str(folder), None, step, dict(parameters))
    run_id: str = run.info.run_id
    return run_id


@contextlib.contextmanager
def _ended(client: MlflowClient, run_id: str) -> Iterator[None]:
    """See to it that the run has ended at the end: as FAILED if its step left it RUNNING, as KILLED if interrupted."""
    left, status = {"RUNNING"}, "FAILED"
    try:
        yield
    except KeyboardInterrupt as error:
        let_go(error)  # before the end of the run is written
        left, status = {"RUNNING", "FAILED"}, "KILLED"  # MLflow marks an interrupted step as failed
        raise
    finally:
        with contextlib.suppress(MlflowException):  # the server is not available, or this user may not write
            if client.get_run(run_id).info.status in left:
                client.set_terminated(run_id, status)


def children(client: MlflowClient, parent: Run, project: str) -> list[Run]:
    """The steps of `project` that were started under run `parent`. Trials are not among them."""
    query = f"tags.`{names.PARENT}` = '{parent.info.run_id}' and tags.`{names.ENTRY_POINT}` != ''"
    found = every(client.search_runs, [parent.info.experiment_id], query)
    return [run for run in found if is_ours(run, project)]
