"""Dataset inputs as MLflow shows them: one per split, named by months, with the digest of its files."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag

DIGEST_LENGTH = 36  # characters MLflow keeps of a dataset's digest

_CONTEXT = {"train": "training", "val": "validation", "test": "testing"}


def log_splits(client: MlflowClient, run_id: str, manifest, uri: str, splits: Iterable[str] | None = None) -> None:
    """Log the splits of the dataset at `uri` as inputs of the run; `manifest` has their months and digests."""
    inputs = []
    for split in splits or manifest.splits:
        dataset = MetaDataset(
            HTTPDatasetSource(url=f"{uri}/{split}"),
            name=f"{manifest.taxi} {split} {manifest.month_span(split)}"[:500],
            digest=manifest.split_digest(split)[:DIGEST_LENGTH],
        )
        inputs.append(DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", _CONTEXT[split])]))
    client.log_inputs(run_id, datasets=inputs)


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
