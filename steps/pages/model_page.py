"""The plots of a registered model, on the page of its run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mlflow import MlflowClient

from provenance.record import names
from runtime import plotting
from steps.pages import effects, model_plots, zones
from taxi.dataset.dataset import Dataset
from taxi.evaluation.evaluate import Evaluation
from taxi.models.predictor import Predictor

IMPORTANCE = {
    "xgboost": "share of gain (squared error that splits on the column take away)",
    "random_forest": "share of the squared error that splits on the column take away",
    "linear": "share of the absolute coefficients of standardised columns",
}


def log_model_plots(
    client: MlflowClient, run_id: str, predictor: Predictor, judged: Evaluation, dataset: Dataset, made_up: bool
) -> None:
    """The registered model's errors on the test months, and what its answers are made of, under ``plots/``."""
    with tempfile.TemporaryDirectory(prefix="plots-") as folder, ThreadPoolExecutor(1, "effects") as beside:
        # The model answers for a second, while this thread draws.
        found = beside.submit(effects.of_model, predictor, dataset)
        for name, figure in chain(of_errors(predictor, judged, dataset, made_up), of_effects(predictor, found)):
            plotting.save(figure, Path(folder, f"{name}.png"))
        client.log_artifacts(run_id, folder, names.PLOTS)


def of_errors(
    predictor: Predictor, judged: Evaluation, dataset: Dataset, made_up: bool
) -> Iterator[tuple[str, Figure]]:
    """File name and figure of each plot of the model's errors on the test months."""
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


def of_effects(predictor: Predictor, found: Future[effects.Effects]) -> Iterator[tuple[str, Figure]]:
    """What `found` has, once it is there; the importance of columns first."""
    features, family = predictor.features, predictor.estimator.family
    note = model_plots.MAP_NOTE if features.learns == "zones" else ""
    yield "importance", model_plots.importance(predictor.estimator.importance(), IMPORTANCE[family], note)
    made = found.result()
    if made.explained:
        explained = made.explained
        yield "shap_summary", model_plots.shap_summary(explained.shap, explained.X, features.columns, note)
    if made.dependence:
        units = {column.name: column.unit for column in features.feature_set.columns}
        yield "partial_dependence", model_plots.partial_dependence(made.dependence, units)
