"""What a model's answers are made of: SHAP values of XGBoost's own, and partial dependence for any family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from taxi.dataset.dataset import Dataset
from taxi.features.fitting import FeatureMap
from taxi.models.boosting import BoostingEstimator
from taxi.models.families import Estimator
from taxi.models.predictor import Predictor
from taxi.models.quantile_bins import filled

SHAP_ROWS = 400
SHAP_LEAVES = 10_000_000  # rows times leaves: about a second, at most; 100 rows show the picture of a larger model
DEPENDENCE_ROWS, DEPENDENCE_POINTS = 300, 16
MOST_DEPENDENCE = 6  # columns, the most important ones


@dataclass(frozen=True)
class Dependence:
    """The mean answer in minutes with one column set to each of `values`, its quantiles over trips; shape (points,)."""

    column: str
    values: np.ndarray
    minutes: np.ndarray


@dataclass(frozen=True)
class Explained:
    """Trips X, and the SHAP value in minutes of each number in it; both of shape (trips, columns)."""

    X: np.ndarray
    shap: np.ndarray


@dataclass(frozen=True)
class Effects:
    """What a model's answers are made of. A family other than xgboost has no `explained`; columns of codes nothing."""

    explained: Explained | None = None
    dependence: Sequence[Dependence] = ()


def of_model(predictor: Predictor, dataset: Dataset) -> Effects:
    """The effects on some of the test trips."""
    features, estimator = predictor.features, predictor.estimator
    if features.categorical or features.labels != features.columns:
        return Effects()
    X = spread_rows(features, dataset.batches("test"), dataset.manifest.rows("test"), SHAP_ROWS)
    shares = estimator.importance()
    wanted = sorted(shares, key=lambda name: -shares[name])[:MOST_DEPENDENCE]
    found = dependence(estimator, X[:: max(1, len(X) // DEPENDENCE_ROWS)], features.columns, wanted)
    if not isinstance(estimator, BoostingEstimator):
        return Effects(None, found)
    some = X[np.linspace(0, len(X) - 1, min(len(X), shap_rows(estimator))).astype(int)]
    return Effects(Explained(some, shap_values(estimator, some)), found)


def spread_rows(features: FeatureMap, batches: Iterable[pa.RecordBatch], rows: int, count: int) -> np.ndarray:
    """At most `count` of `rows` valid trips, evenly spread over them, as X of a dense feature set: (n, columns)."""
    wanted = np.unique(np.linspace(0, rows - 1, min(count, rows)).astype(np.int64))
    parts, start = [], 0
    for batch in batches:
        here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        start += len(batch)
        if len(here):
            columns = features.transform(batch.take(pa.array(here)))
            parts.append(features.matrix({name: columns[name].to_numpy() for name in columns.schema.names}))
    return np.concatenate(parts)


def shap_rows(estimator: BoostingEstimator) -> int:
    """How many rows to explain: fewer for many deep trees, since the time goes by rows times leaves."""
    leaves = estimator.booster.num_boosted_rounds() * 2**estimator.params.max_depth
    return max(100, min(SHAP_ROWS, SHAP_LEAVES // leaves))


def shap_values(estimator: BoostingEstimator, X: np.ndarray) -> np.ndarray:
    """Minutes that each column adds to each answer, float64 of shape (n, columns).

    A row and the model's mean answer add up to what it predicts for that row.
    """
    import xgboost as xgb

    ready = filled(X, estimator.booster.feature_types or (), estimator.missing)
    matrix = xgb.DMatrix(ready, feature_types=estimator.booster.feature_types, enable_categorical=True, nthread=1)
    shares = estimator.booster.predict(matrix, pred_contribs=True, validate_features=False)
    return np.asarray(shares, dtype=np.float64)[:, :-1]


def dependence(estimator: Estimator, X: np.ndarray, columns: Sequence[str], wanted: Sequence[str]) -> list[Dependence]:
    """Partial dependence (Friedman, 2001) on each of the `wanted` columns: the mean answer if all trips had a value."""
    found = []
    for name in wanted:
        place = list(columns).index(name)
        known = X[~np.isnan(X[:, place]), place]
        if not len(known):
            continue
        values = np.unique(np.quantile(known, np.linspace(0.01, 0.99, DEPENDENCE_POINTS), method="nearest"))
        every = np.tile(X, (len(values), 1))
        every[:, place] = np.repeat(values, len(X))
        minutes = estimator.predict(every).reshape(len(values), len(X)).mean(axis=1)
        found.append(Dependence(name, values, minutes))
    return found
