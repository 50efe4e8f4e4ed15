"""The plots of a registered model, on the page of its run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mlflow import MlflowClient

from provenance.record import names
from runtime import plotting
from steps.pages import effects, model_plots, zones
from taxi.dataset.dataset import Dataset
from taxi.evaluation.evaluate import Evaluation
from taxi.models.boosting import BoostingEstimator
from taxi.models.predictor import Predictor

MOST_DEPENDENCE = 6  # panels
IMPORTANCE = {
    "xgboost": "share of gain (squared error that splits on the column take away)",
    "random_forest": "share of the squared error that splits on the column take away",
    "linear": "share of the absolute coefficients of standardised columns",
}


def log_model_plots(
    client: MlflowClient, run_id: str, predictor: Predictor, judged: Evaluation, dataset: Dataset, made_up: bool
) -> None:
    """The registered model's errors on the test months, and what its answers are made of, under ``plots/``."""
    with tempfile.TemporaryDirectory(prefix="plots-") as folder:
        for name, figure in [*of_errors(predictor, judged, dataset, made_up), *of_effects(predictor, dataset)]:
            plotting.save(figure, Path(folder, f"{name}.png"))
        client.log_artifacts(run_id, folder, names.PLOTS)


def of_errors(
    predictor: Predictor, judged: Evaluation, dataset: Dataset, made_up: bool
) -> Iterator[tuple[str, Figure]]:
    rows, error = judged.rows, judged.error
    miles = np.concatenate([batch["trip_distance"].to_numpy() for batch in dataset.batches("test")])
    called = partial(zones.name, made_up=made_up)
    yield "actual_against_predicted", model_plots.actual_against_predicted(rows.y, judged.predicted)
    yield "residuals", model_plots.residuals(judged.predicted, error)
    yield "error_by_hour", model_plots.error_by_hour(rows.hour, rows.day, error)
    yield "error_by_distance", model_plots.error_by_distance(miles, rows.day, error)
    yield "error_by_zone", model_plots.error_by_zone(rows.zone, rows.day, error, called)
    if predictor.features.learns == "zones":
        flat = zones.flat_map(predictor.features.learned)
        yield "error_map", model_plots.error_map(flat, rows.zone, rows.day, error, called)
    if judged.low is not None and judged.high is not None:
        yield "interval_coverage", model_plots.interval_coverage(rows.y, judged.predicted, judged.low, judged.high)


def of_effects(predictor: Predictor, dataset: Dataset) -> Iterator[tuple[str, Figure]]:
    """Of columns that are numbers; one of codes has an importance alone."""
    features, estimator = predictor.features, predictor.estimator
    shares = estimator.importance()
    note = model_plots.MAP_NOTE if features.learns == "zones" else ""
    yield "importance", model_plots.importance(shares, IMPORTANCE[estimator.family], note)
    if features.categorical or features.labels != features.columns:
        return
    rows = dataset.manifest.rows("test")
    X = effects.spread_rows(features, dataset.batches("test"), rows, effects.SHAP_ROWS)
    if isinstance(estimator, BoostingEstimator):
        some = X[np.linspace(0, len(X) - 1, min(len(X), effects.shap_rows(estimator))).astype(int)]
        shares_of = effects.shap_values(estimator, some)
        yield "shap_summary", model_plots.shap_summary(shares_of, some, features.columns, note)
    wanted = sorted(shares, key=lambda name: -shares[name])[:MOST_DEPENDENCE]
    units = {column.name: column.unit for column in features.feature_set.columns}
    found = effects.dependence(estimator, X[:: max(1, len(X) // effects.DEPENDENCE_ROWS)], features.columns, wanted)
    yield "partial_dependence", model_plots.partial_dependence(found, units)
