"""Make runs that only check another run unusable for reuse."""

from __future__ import annotations

import contextlib

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.pipeline.launch import children
from provenance.record import names
from provenance.store.paging import every
from provenance.store.project_identity import is_ours

CHECKS = ("reproduce", "compare", "verify")  # entry points whose child runs are checks
_VERSIONS = "mlflow.modelVersions"  # MLflow's tag on a logged model: its registered versions


def revoke(client: MlflowClient, run_id: str, project: str) -> None:
    """Make the outputs of a run and the results of its trials unusable for reuse. They can still be looked at.

    A run of another project stays as it is, and so does a run that the store refuses to change.
    """
    with contextlib.suppress(MlflowException):
        _disown(client, client.get_run(run_id), project)


def revoke_below(client: MlflowClient, check: Run, project: str) -> None:
    """Revoke all runs below `check`, a check that was killed before it could do this itself."""
    if check.data.tags.get(names.ENTRY_POINT) in CHECKS:
        with contextlib.suppress(MlflowException):
            for child in children(client, check, project):
                for run in (child, *children(client, child, project)):
                    revoke(client, run.info.run_id, project)


def _disown(client: MlflowClient, run: Run, project: str) -> None:
    if not is_ours(run, project):
        return
    run_id, experiments = run.info.run_id, [run.info.experiment_id]
    _drop(client, run, names.OUTPUTS)
    query = f"tags.`{names.PARENT}` = '{run_id}' and tags.`{names.TRIAL_RESULT}` != ''"
    for trial in every(client.search_runs, experiments, query):
        if is_ours(trial, project):
            _drop(client, trial, names.TRIAL_RESULT)
    # The version was registered in a temporary registry. The model's page would show it as one of the team's registry.
    made = {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()
    for model in every(client.search_logged_models, experiments, f"source_run_id = '{run_id}'"):
        if model.model_id in made and _VERSIONS in model.tags:
            client.delete_logged_model_tag(model.model_id, _VERSIONS)


def _drop(client: MlflowClient, run: Run, name: str) -> None:
    if name in run.data.tags:
        client.delete_tag(run.info.run_id, name)
