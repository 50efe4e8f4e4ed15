"""Dataset inputs of a run, as MLflow shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_LENGTH = 36  # characters MLflow keeps of a dataset's digest
_TYPES = {
    "bool": DataType.boolean,
    "int8": DataType.integer,
    "int16": DataType.integer,
    "int32": DataType.integer,
    "int64": DataType.long,
    "float": DataType.float,
    "double": DataType.double,
}


def colspec(schema: pa.Schema) -> str:
    """An Arrow schema as JSON for MLflow's page of a dataset. A type that MLflow lacks becomes a string."""
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(_type(field.type), field.name, required=not field.nullable) for field in schema
    ]
    return json.dumps({"mlflow_colspec": Schema(columns).to_dict()})


def _type(kind: pa.DataType) -> DataType:
    name = str(kind)
    return DataType.datetime if name.startswith(("timestamp", "date")) else _TYPES.get(name, DataType.string)


def log_files(client: MlflowClient, run_id: str, files: Iterable[tuple[str, str, str]], context: str) -> None:
    """Log files as dataset inputs of a run.

    files: (name, URI, SHA-256) of each. context: how the run used them, as MLflow shows it.
    """
    inputs = []
    for name, uri, digest in files:
        source = HTTPDatasetSource(url=uri)
        # MLflow declares this class as abstract, but its documentation creates one like this.
        dataset = MetaDataset(source, name=name[:500], digest=digest[:DIGEST_LENGTH])  # type: ignore[abstract]
        inputs.append(DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", context)]))
    client.log_inputs(run_id, datasets=inputs)


def same_inputs(client: MlflowClient, run_id: str, other: str) -> None:
    """Copy the dataset inputs of run `other` to the run `run_id`."""
    inputs = client.get_run(other).inputs
    if inputs and inputs.dataset_inputs:
        client.log_inputs(run_id, datasets=inputs.dataset_inputs)
