"""Dataset inputs as MLflow shows them."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag

DIGEST_LENGTH = 36  # characters MLflow keeps of a dataset's digest


def log_files(client: MlflowClient, run_id: str, files: Iterable[tuple[str, str, str]], context: str) -> None:
    """Log files (name, URI, SHA-256) that a model is tried on or used for as inputs of the run."""
    inputs = []
    for name, uri, digest in files:
        dataset = MetaDataset(HTTPDatasetSource(url=uri), name=name[:500], digest=digest[:DIGEST_LENGTH])
        inputs.append(DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", context)]))
    client.log_inputs(run_id, datasets=inputs)


def same_inputs(client: MlflowClient, run_id: str, other: str) -> None:
    """Give the run the inputs that run `other` has."""
    if inputs := client.get_run(other).inputs.dataset_inputs:
        client.log_inputs(run_id, datasets=inputs)
