"""Evaluate one model on test trips: its metrics, its worst slices, and the figures for the promotion rule."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from taxi.evaluation.metrics import metrics
from taxi.evaluation.promotion_rule import Figures
from taxi.evaluation.slices import Rows, Slice, by_hour, by_zone_group, worst
from taxi.models.intervals import coverage
from taxi.models.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

TIMED = 15  # predictions


@dataclass(frozen=True)
class Evaluation:
    """Predicted minutes of `rows`, float64 of shape (n,), and the ends of their intervals, None without."""

    rows: Rows
    predicted: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None

    @classmethod
    def of(cls, predictor: Predictor, rows: Rows, batches: Iterable[pa.RecordBatch]) -> "Evaluation":
        """`batches` are the valid trips that `rows` were read from."""
        predicted = predictor.predict_valid(batches)
        low, high = predictor.intervals.bounds(predicted) if predictor.intervals else (None, None)
        return cls(rows, predicted, low, high)

    @cached_property
    def error(self) -> np.ndarray:
        """Predicted minus measured minutes, shape (n,)."""
        return self.predicted - self.rows.y

    @cached_property
    def squared(self) -> np.ndarray:
        """Of `error`, square minutes, shape (n,)."""
        return self.error**2

    @cached_property
    def hours(self) -> list[Slice]:
        """Errors by hour of the day."""
        return by_hour(self.rows, self.error)

    @cached_property
    def zones(self) -> list[Slice]:
        """Errors by group of pickup zones."""
        return by_zone_group(self.rows, self.error)

    @property
    def coverage(self) -> float:
        """Share of the trips whose minutes lie in their interval; NaN without intervals."""
        if self.low is None or self.high is None:
            return float("nan")
        return coverage(self.rows.y, self.low, self.high)

    def metrics(self, prefix: str) -> dict[str, float]:
        """As `metrics.metrics`, and `{prefix}_coverage` (a share), `{prefix}_interval_width` (minutes)."""
        found = metrics(self.rows.y, self.predicted, prefix)
        if self.low is not None and self.high is not None:
            found[f"{prefix}_coverage"] = self.coverage
            found[f"{prefix}_interval_width"] = float(np.mean(self.high - self.low))
        return found

    def figures(self, latency_ms: float, model_bytes: int) -> Figures:
        """What the gate looks at; `latency_ms` as from `latency_ms`, `model_bytes` the size of the model's files."""
        hour, zones = worst(self.hours), worst(self.zones)
        return Figures(
            rmse=float(self.squared.mean() ** 0.5),
            spread=float(self.rows.y.std()),
            zones=zones.name,
            zones_rmse=zones.rmse,
            hour=hour.name,
            hour_rmse=hour.rmse,
            coverage=self.coverage,
            latency_ms=latency_ms,
            model_mb=model_bytes / 1e6,
        )


def latency_ms(predictor: Predictor, trip: "pd.DataFrame") -> float:
    """Milliseconds that one answer takes, a DataFrame of one raw trip in, minutes out.

    The fastest of some: what the model takes, not what else this machine is doing.
    """
    taken = []
    for _ in range(TIMED):
        start = time.perf_counter()
        predictor.answer(trip)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)
