"""The model registry: versions, aliases, and who becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tracking import names
from tracking.artifacts import unaltered
from tracking.cache import Hit
from tracking.lineage import Output


@dataclass(frozen=True)
class Decision:
    """Whether a candidate becomes champion, and why in one sentence."""

    promote: bool
    reason: str


def holder(client: MlflowClient, model_name: str, alias: str) -> ModelVersion | None:
    """The version that holds `alias`, if any."""
    try:
        return client.get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        # Of a model that is not there, a server with users says that one may not read it.
        if error.error_code == "PERMISSION_DENIED" and not client.search_registered_models(f"name = '{model_name}'"):
            return None
        raise


def decide(candidate_rmse: float, champion_rmse: float | None, champion_version: str | None) -> Decision:
    """Compare two test RMSEs in minutes, both on the same rows."""
    if champion_version is None:
        return Decision(True, "there was no champion yet")
    if champion_rmse is None:
        return Decision(True, f"the champion, version {champion_version}, can no longer be loaded")
    word = "below" if candidate_rmse < champion_rmse else "not below"
    return Decision(
        candidate_rmse < champion_rmse,
        f"test RMSE {candidate_rmse:.4f} min is {word} the {champion_rmse:.4f} min of champion version "
        f"{champion_version} on the same rows",
    )


def register(client: MlflowClient, model_name: str, model: Output, tags: Mapping[str, str]) -> ModelVersion:
    """A new version of `model_name`, loaded back from the registry before anybody may get an alias on it.

    Loading runs the code that came with the model: only bytes that are still those `model` was recorded with.
    """
    with unaltered(model):
        version = mlflow.register_model(model.uri, model_name, tags=dict(tags))
    with unaltered(replace(model, uri=f"models:/{model_name}/{version.version}")) as folder:
        mlflow.pyfunc.load_model(str(folder))
    return client.get_model_version(model_name, str(version.version))


def version_of(hit: Hit) -> tuple[str, str]:
    """Name and number of the version that a register run made."""
    _, name, version = hit.outputs[names.VERSION].uri.split("/")
    return name, version


def moved(client: MlflowClient, hit: Hit) -> str | None:
    """Why the version of an earlier register run no longer stands for this one: an alias is gone or went elsewhere."""
    name, version = version_of(hit)
    for alias in (names.CANDIDATE, names.CHAMPION):
        held = holder(client, name, alias)
        if held is None:
            return f"{name} has no {alias}"
        if alias == names.CANDIDATE and str(held.version) != version:
            return f"{alias} of {name} is now version {held.version}, not {version}"
    return None
