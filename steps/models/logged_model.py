"""Log a fitted predictor as an MLflow model: raw trips in, minutes out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from provenance.record import names
from provenance.record.lineage import Output
from provenance.registry.logged_model import PREDICTOR, Described, ModelSource, log_model
from steps.pages.split_inputs import measured_on
from taxi.dataset.manifest import Manifest
from taxi.models.predictor import NOTE, PICKUP, Predictor

DATA_FILES = ("served.py",)  # the model's source: MLflow loads it by path, nothing here imports it
ROOT = Path(__file__).resolve().parents[2]

_REQUIREMENTS = {
    "linear": ("scikit-learn", "skops", "scipy"),
    "random_forest": ("scikit-learn", "skops", "scipy"),
    "xgboost": ("xgboost", "scipy"),
}


def source(family: str) -> ModelSource:
    """How models of a family are served."""
    packages = ("mlflow", "numpy", "pandas", "pyarrow", "threadpoolctl", *_REQUIREMENTS[family])
    return ModelSource(ROOT, "steps.models.served", ("taxi", "search", "runtime"), packages, "regressor")


def signature(taxi: str, intervals: bool) -> ModelSignature:
    """Raw trips in, minutes out; with `intervals` the ends of each duration's interval, too; a note if there is one."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "PULocationID"),
        ColSpec(DataType.long, "DOLocationID"),
        ColSpec(DataType.double, "trip_distance"),
        ColSpec(DataType.datetime, PICKUP[taxi]),
    ]
    answers = ("duration", "duration_low", "duration_high") if intervals else ("duration",)
    outputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.double, name) for name in answers]
    return ModelSignature(Schema(inputs), Schema([*outputs, ColSpec(DataType.string, NOTE, required=False)]))


def example(predictor: Predictor) -> pd.DataFrame:
    """Two trips of a quiet Sunday and a Monday rush hour, between zones that the model knows."""
    trips = (predictor.features.usual_trips() or [(74, 75, 1.2)]) * 2
    pickup_zone, dropoff_zone, miles = zip(*trips[:2], strict=True)
    pickup = pd.to_datetime(["2023-03-05 04:10:00", "2023-03-06 17:45:00"])
    columns = {"PULocationID": pickup_zone, "DOLocationID": dropoff_zone, "trip_distance": miles}
    return pd.DataFrame({**columns, PICKUP[predictor.taxi]: pickup})


def model_name(predictor: Predictor, months: Sequence[str]) -> str:
    """What MLflow calls a model that learned of these months: family, taxi, months; no letter that MLflow refuses."""
    first, last = min(months), max(months)
    span = first if first == last else f"{first}-to-{last}"
    return f"{predictor.estimator.family}-{predictor.taxi}-{span}"


def log(predictor: Predictor, run_id: str, name: str, params: Mapping[str, object], metrics: Mapping[str, float],
        tags: Mapping[str, str], manifest: Manifest | None = None,
        description: str = "") -> tuple[str, Output]:  # fmt: skip
    """Log `predictor` as a LoggedModel of run `run_id`, which need not be the active one; its id and its files' record.

    The model and its run get `metrics`, each measured on a split of the dataset that `manifest` is of.
    """
    with tempfile.TemporaryDirectory(prefix="predictor-") as folder:
        data = Path(folder, PREDICTOR)
        predictor.save(data)
        described = Described(
            signature(predictor.taxi, predictor.intervals is not None),
            example(predictor),
            params,
            metrics,
            {**tags, **({names.NOTE: description} if description else {})},
            partial(measured_on, metrics, manifest),
        )
        return log_model(source(predictor.estimator.family), data, described, run_id, name)
