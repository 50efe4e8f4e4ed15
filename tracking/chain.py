"""Start another step of this project as a child run, through `mlflow run`, and wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException

from tracking import names

ROOT = Path(__file__).resolve().parents[1]


class ChainError(ValueError):
    """A step that was started for another one failed; its own message stands above."""


def launch(client: MlflowClient, parent: Run, step: str, parameters: Mapping[str, str]) -> Run:
    """Run entry point `step` under `parent`, in the environment manager that `parent` was started with.

    The manager is MLflow's own tag on the parent (absent for `local`); without it MLflow would fall back to conda.
    Raises ChainError when the step fails; a child that its launch left RUNNING is marked FAILED.
    """
    before = {run.info.run_id for run in children(client, parent)}
    try:
        submitted = mlflow.projects.run(
            str(ROOT),
            step,
            parameters=dict(parameters),
            experiment_id=parent.info.experiment_id,
            env_manager=parent.data.tags.get(names.PROJECT_ENV, "local"),
        )
    except ExecutionException as error:
        raise ChainError(f"step {step} failed: {error}") from None
    finally:
        for run in children(client, parent):
            if run.info.run_id not in before and run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "FAILED")
    return client.get_run(submitted.run_id)


def children(client: MlflowClient, parent: Run) -> list[Run]:
    """The child runs that `mlflow run` made under `parent` (trials, which a step makes itself, are not among them)."""
    query = f"tags.`{names.PARENT}` = '{parent.info.run_id}' and tags.`{names.ENTRY_POINT}` != ''"
    return list(client.search_runs([parent.info.experiment_id], query, max_results=1000))
