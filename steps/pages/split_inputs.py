"""Splits of a dataset as MLflow shows them: inputs named by months, with what is in them and what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from provenance.record.dataset_inputs import DIGEST_LENGTH, colspec
from taxi.dataset.manifest import Manifest

CONTEXT = {"train": "training", "val": "validation", "test": "testing"}
RANGED = ("duration", "trip_distance", "pickup_datetime")
UNITS = {"duration": "minutes", "trip_distance": "miles", "pickup_datetime": ""}
MOST_RANGED_TRIPS = 5_000_000  # of a split that is read for its ranges: half a second


def log_splits(client: MlflowClient, run_id: str, folder: Path, manifest: Manifest, uri: str,
               splits: Iterable[str] | None = None) -> None:  # fmt: skip
    """Log the splits of the dataset at `uri`, on this machine in `folder`, as inputs of the run."""
    inputs = []
    for split in splits or manifest.splits:
        name, digest = split_name(manifest, split)
        source = HTTPDatasetSource(url=f"{uri}/{split}")
        schema = pq.read_schema(folder / manifest.files(split)[0])
        shown = Dataset(
            name,
            digest,
            source._get_source_type(),
            source.to_json(),
            schema=colspec(schema),
            profile=json.dumps(profile(folder, manifest, split)),
        )
        inputs.append(DatasetInput(shown, [InputTag("mlflow.data.context", CONTEXT[split])]))
    client.log_inputs(run_id, datasets=inputs)


def split_name(manifest: Manifest, split: str) -> tuple[str, str]:
    """The name and the digest by which MLflow knows a split."""
    name = f"{manifest.taxi} {split} {manifest.month_span(split)}"[:500]
    return name, manifest.split_digest(split)[:DIGEST_LENGTH]


def profile(folder: Path, manifest: Manifest, split: str) -> dict[str, int | str]:
    """Rows kept, read and left out, each reason by itself; the ranges of what was kept, where that is read fast."""
    months = [manifest.record["months"][month] for month in manifest.months(split)]
    dropped = sum((Counter(month["dropped"]) for month in months), Counter[str]())
    found: dict[str, int | str] = {"rows": manifest.rows(split), "records read": sum(month["read"] for month in months)}
    found |= {f"left out, {reason}": count for reason, count in dropped.most_common()}
    return found | (ranges(folder, manifest, split) if manifest.rows(split) <= MOST_RANGED_TRIPS else {})


def ranges(folder: Path, manifest: Manifest, split: str) -> dict[str, str]:
    """Of each of RANGED, from the smallest to the largest value there is."""
    seen: dict[str, list[pa.Scalar]] = {name: [] for name in RANGED}
    for file in manifest.files(split):
        table = pq.read_table(folder / file, columns=list(RANGED), use_threads=False)
        for name in RANGED:
            ends = pc.min_max(table[name]).as_py()
            seen[name] += [end for end in (ends["min"], ends["max"]) if end is not None]
    return {
        name: f"{_text(min(ends))} to {_text(max(ends))} {UNITS[name]}".strip() for name, ends in seen.items() if ends
    }


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:%Y-%m-%d %H:%M}"


def measured_on(metrics: Mapping[str, float], manifest: Manifest | None, model_id: str,
                last: Mapping[str, Metric] | None = None) -> list[Metric]:  # fmt: skip
    """The metrics of a logged model, each with the split that its name begins with; without a manifest with none.

    One that is in `last` has the time and the step that it has there.
    """
    found = []
    for metric, value in metrics.items():
        split = metric.removeprefix("registered_").partition("_")[0]
        name, digest = split_name(manifest, split) if manifest and split in manifest.splits else (None, None)
        at = (last or {}).get(metric)
        time, step = (at.timestamp, at.step) if at else (0, 0)
        found.append(Metric(metric, value, time, step, model_id=model_id, dataset_name=name, dataset_digest=digest))
    return found
