"""Metrics: the distance between predicted and measured minutes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from taxi.dataset.stored_split import AnySplit
    from taxi.models.families import Estimator


def measured(
    estimator: "Estimator", split: "AnySplit", seen: Callable[[int], bool | None] = lambda trips: None
) -> tuple[np.ndarray, np.ndarray]:
    """A split's minutes and what `estimator` predicts for them, float64 of shape (n,) each, made a part at a time.

    `seen` is told the trips of each part.
    """
    y, predicted = np.empty(len(split)), np.empty(len(split))
    done = 0
    for part in split.parts():
        rows = slice(done, done + len(part))
        y[rows], predicted[rows] = part.y, estimator.predict(part.X)
        done += len(part)
        seen(len(part))
    return y, predicted


def metrics(y: np.ndarray, predicted: np.ndarray, prefix: str) -> dict[str, float]:
    """`{prefix}_rmse`, `{prefix}_mae` in minutes and `{prefix}_r2` of arrays of shape (n,), n > 0.

    R2 is 0.0 when every measured duration is the same and any prediction misses (1.0 when none does),
    as in scikit-learn. Raises ValueError for empty or unequal shapes.
    """
    y, predicted = np.asarray(y, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != predicted.shape or y.ndim != 1 or not len(y):
        raise ValueError(f"metrics need two equal, non-empty arrays of minutes, got {y.shape} and {predicted.shape}")
    error = predicted - y
    squared, spread = float(np.mean(error**2)), float(np.mean((y - y.mean()) ** 2))
    r2 = 1.0 - squared / spread if spread > 0 else float(squared == 0)
    return {
        f"{prefix}_rmse": squared**0.5,
        f"{prefix}_mae": float(np.mean(np.abs(error))),
        f"{prefix}_r2": r2,
    }
