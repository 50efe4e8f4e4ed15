"""Splits of a dataset as MLflow shows them: inputs named by months, with the digest of their files."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag

from provenance.record.dataset_inputs import DIGEST_LENGTH

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
