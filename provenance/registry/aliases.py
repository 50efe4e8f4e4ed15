"""Which version holds an alias of a registered model, and whether the aliases of a finished run are still in place."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import Session
from provenance.record import names
from provenance.reuse.cache import Hit
from provenance.store.paging import every

AUTO = "auto"


def holder(client: MlflowClient, model_name: str, alias: str) -> ModelVersion | None:
    """The version that holds `alias`; None if there is no such alias or model."""
    try:
        return client.get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        # For a missing model, a server with users answers that the user may not read it.
        named = every(client.search_registered_models, f"name = '{model_name}'")
        if error.error_code == "PERMISSION_DENIED" and not any(named):
            return None
        raise


def model_name(session: Session, given: str) -> str:
    """The registered model to use for `given`. For "auto" it is the project's first model that has a champion.

    The chosen name is printed.
    """
    if given != AUTO:
        return given
    models = session.pipeline.registered_models
    name = next((name for name in models if holder(session.client, name, names.CHAMPION)), next(iter(models)))
    session.say(f"model {name}{models[name]}")
    return name


def version_of(hit: Hit) -> tuple[str, str]:
    """Name and number of the version that a run of a registering step made."""
    _, name, version = hit.outputs[names.VERSION].uri.split("/")
    return name, version


def moved(client: MlflowClient, hit: Hit) -> str | None:
    """Why an earlier registering run cannot be reused: an alias is missing or has moved. None if it can be reused."""
    name, version = version_of(hit)
    for alias in (names.CANDIDATE, names.CHAMPION):
        held = holder(client, name, alias)
        if held is None:
            return f"{name} has no {alias}"
        if alias == names.CANDIDATE and str(held.version) != version:
            return f"{alias} of {name} is now version {held.version}, not {version}"
    return None
