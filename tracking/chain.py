"""Start another step of this project as a child run, through `mlflow run`, and wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException

from tracking import names

ROOT = Path(__file__).resolve().parents[1]


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


@contextlib.contextmanager
def ending(client: MlflowClient, parent: Run) -> Iterator[None]:
    """What a launch leaves RUNNING under `parent` failed; after an interruption, whatever it began was killed."""
    before = {run.info.run_id for run in children(client, parent)}
    wrong, status = {"RUNNING"}, "FAILED"
    try:
        yield
    except KeyboardInterrupt:
        wrong, status = {"RUNNING", "FAILED"}, "KILLED"  # MLflow marks as failed what had no time to say more
        raise
    finally:
        for run in children(client, parent):
            if run.info.run_id not in before and run.info.status in wrong:
                client.set_terminated(run.info.run_id, status)


def launch(client: MlflowClient, parent: Run, step: str, parameters: Mapping[str, str]) -> Run:
    """Run entry point `step` under `parent`, in the environment manager that `parent` was started with.

    The manager is MLflow's own tag on the parent (absent for `local`); without it MLflow would fall back to conda.
    Raises ChainError when the step fails.
    """
    try:
        with addressed(ROOT) as uri, ending(client, parent):
            submitted = mlflow.projects.run(
                uri,
                step,
                parameters=dict(parameters),
                experiment_id=parent.info.experiment_id,
                env_manager=parent.data.tags.get(names.PROJECT_ENV, "local"),
            )
    except ExecutionException as error:
        raise ChainError(f"step {step} failed: {error}") from None
    return client.get_run(submitted.run_id)


def children(client: MlflowClient, parent: Run) -> list[Run]:
    """The child runs that `mlflow run` made under `parent` (trials, which a step makes itself, are not among them)."""
    query = f"tags.`{names.PARENT}` = '{parent.info.run_id}' and tags.`{names.ENTRY_POINT}` != ''"
    return list(client.search_runs([parent.info.experiment_id], query, max_results=1000))
