"""Prediction intervals for the duration of a trip, learned from the errors on rows that the model was not fitted to.

Split conformal prediction (Vovk, Gammerman, Shafer, 2005; Lei et al., 2018), separately for bins of predicted minutes
(Mondrian): long trips miss by more, so their intervals are wider. Of trips like those it learned of, at least `level`
fall inside, in every bin; whether later months are like them is measured, not promised.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

LEVEL = 0.9  # share of trips inside
BINS = 20  # of predicted minutes, by their quantiles
FEWEST_TRIPS = 200  # a bin; the 5 % beyond each end are then ten trips, not two
SHORTEST_MINUTES = 1.0  # no trip that is kept is shorter: taxi.months.trips.DURATION_MINUTES


class IntervalError(ValueError):
    """A file that does not hold intervals."""


@dataclass(frozen=True)
class Intervals:
    """`edges`: the k - 1 predicted minutes between k bins. `below`, `above`: minutes (<= 0, >= 0) for each bin."""

    level: float
    rows: int  # trips that it was learned of
    edges: tuple[float, ...]
    below: tuple[float, ...]
    above: tuple[float, ...]

    @classmethod
    def learn(cls, y: np.ndarray, predicted: np.ndarray, level: float = LEVEL) -> "Intervals":
        """From measured and predicted minutes of shape (n,), n > 0, of trips that the model was not fitted to."""
        bins = min(BINS, max(1, len(y) // FEWEST_TRIPS))
        edges = np.unique(np.sort(predicted)[np.arange(1, bins) * len(y) // bins])
        edges = edges[edges > predicted.min()]  # else nothing is below the first
        place = np.searchsorted(edges, predicted, side="right")
        errors = [np.sort((y - predicted)[place == number]) for number in range(len(edges) + 1)]
        tail = (1 - level) / 2
        below = [min(0.0, -_quantile(-error[::-1], 1 - tail)) for error in errors]
        above = [max(0.0, _quantile(error, 1 - tail)) for error in errors]
        return cls(level, len(y), tuple(edges.tolist()), tuple(below), tuple(above))

    def bounds(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end in minutes, float64 of shape (n,): the prediction is never outside."""
        place = np.searchsorted(self.edges, predicted, side="right")
        low = np.maximum(predicted + np.asarray(self.below)[place], SHORTEST_MINUTES)
        return np.minimum(low, predicted), predicted + np.asarray(self.above)[place]

    def save(self, path: Path) -> None:
        """Write them as JSON to the file `path`."""
        path.write_text(json.dumps({"schema": 1, **asdict(self)}, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Intervals":
        """Raises IntervalError for anything that `save` did not write."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved.pop("schema") != 1:
                raise IntervalError(f"{path} holds intervals of another version of this project")
            numbers = {name: tuple(map(float, saved[name])) for name in ("edges", "below", "above")}
            found = cls(float(saved["level"]), int(saved["rows"]), **numbers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntervalError(f"{path} does not hold intervals ({error}); register the model again") from None
        if len(found.below) != len(found.above) or len(found.below) != len(found.edges) + 1:
            raise IntervalError(f"{path} does not hold intervals (bins without ends); register the model again")
        return found


def _quantile(ascending: np.ndarray, share: float) -> float:
    """The least value with `share` of trips like these, the next one counted in, at or below it.

    With too few trips for that, the largest.
    """
    rank = math.ceil((len(ascending) + 1) * share)
    return float(ascending[min(rank, len(ascending)) - 1])


def coverage(y: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of measured minutes, shape (n,), that lie inside their interval."""
    return float(np.mean((low <= y) & (y <= high)))
