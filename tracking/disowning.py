"""Take from runs that only check another what would let others reuse them: a check is no colleague's work."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Run

from tracking import names
from tracking.chain import children

CHECKS = ("reproduce", "compare", "verify")  # entry points whose child runs are checks
_VERSIONS = "mlflow.modelVersions"  # MLflow writes on a logged model in which registry it got which version


def disown(client: MlflowClient, run_id: str) -> None:
    """Make the outputs of a run, and the results of its trials, unusable; what they are stays to be looked at."""
    run = client.get_run(run_id)
    _drop(client, run_id, run.data.tags, names.OUTPUTS)
    query = f"tags.`{names.PARENT}` = '{run_id}' and tags.`{names.TRIAL_RESULT}` != ''"
    for trial in client.search_runs([run.info.experiment_id], query, max_results=1000):
        _drop(client, trial.info.run_id, trial.data.tags, names.TRIAL_RESULT)
    # Its version was one of the scratch registry; on the model's page it would read as one of the team's.
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'"):
        if _VERSIONS in model.tags:
            client.delete_logged_model_tag(model.model_id, _VERSIONS)


def disown_below(client: MlflowClient, check: Run) -> None:
    """The same for all runs below a check that was killed before it could do so itself."""
    if check.data.tags.get(names.ENTRY_POINT) in CHECKS:
        for child in children(client, check):
            for run in (child, *children(client, child)):
                disown(client, run.info.run_id)


def _drop(client: MlflowClient, run_id: str, tags: Mapping[str, str], name: str) -> None:
    if name in tags:
        client.delete_tag(run_id, name)
