"""The model registry: versions, aliases, and who becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tracking import names
from tracking.cache import Hit


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


def register(client: MlflowClient, model_name: str, model_uri: str, tags: Mapping[str, str]) -> ModelVersion:
    """A new version of `model_name`, loaded back from the registry before anybody may get an alias on it."""
    version = mlflow.register_model(model_uri, model_name, tags=dict(tags))
    mlflow.pyfunc.load_model(f"models:/{model_name}/{version.version}")
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
