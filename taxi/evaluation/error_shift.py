"""Explain the change of a model's error between two sets of months by slices, whose contributions add up to it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from taxi.evaluation.drift import DAYS, binned
from taxi.features.feature_map import ZONE_IDS

SELDOM = 20  # training trips of a pair of zones, below which the model knows it little
SURE = 1.96  # standard errors either way that hold 95 %
HOURS = 4  # of a part of the day
MILES = (0.0, 1.0, 2.0, 5.0, 10.0)
_PARTS = tuple(f"{start:02}-{start + HOURS - 1:02} h" for start in range(0, 24, HOURS))

# Slicing -> the labels of its slices; each trip is in one slice of each.
SLICINGS: dict[str, tuple[str, ...]] = {
    "hour": tuple(f"{hour:02} h" for hour in range(24)),
    "part of the day": _PARTS,
    "weekday": DAYS,
    "distance": ("0 miles", "up to 1 mile", "1 to 2 miles", "2 to 5 miles", "5 to 10 miles", "above 10 miles"),
    "pair in training": ("never", f"under {SELDOM} trips", f"{SELDOM} trips or more"),
    "pickup zone": tuple(f"zone {zone}" for zone in range(ZONE_IDS)),
}


def _sliced(batch: pa.RecordBatch, training_pairs: np.ndarray) -> dict[str, np.ndarray]:
    bins = binned(batch)
    seen = training_pairs[bins["PULocationID"] * ZONE_IDS + bins["DOLocationID"]]
    return {
        "hour": bins["hour"],
        "part of the day": bins["hour"] // HOURS,
        "weekday": bins["weekday"],
        "distance": np.searchsorted(MILES, batch["trip_distance"].to_numpy(), side="left"),
        "pair in training": (seen > 0).astype(np.int64) + (seen >= SELDOM),
        "pickup zone": bins["PULocationID"],
    }


@dataclass
class Errors:
    """Sums of a model's errors on valid trips, by slice; memory does not grow with the trips.

    `training_pairs` are the training trips of each pair of zones, int64 of shape (ZONES * ZONES,).
    """

    training_pairs: np.ndarray
    trips: int = 0
    absolute: float = 0.0  # minutes
    signed: float = 0.0  # minutes, predicted minus measured
    fourth: float = 0.0  # powers of the errors: how sure the mean square is
    covered: int = 0  # trips whose minutes lie within their interval
    counts: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.zeros(len(labels), np.int64) for name, labels in SLICINGS.items()}
    )
    squares: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.zeros(len(labels)) for name, labels in SLICINGS.items()}
    )

    def add(
        self, batch: pa.RecordBatch, predicted: np.ndarray, ends: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        """Predicted minutes of a batch's trips and, if there are any, the ends of their intervals: float64, (n,)."""
        if ends:
            y = batch["duration"].to_numpy()
            self.covered += int(np.count_nonzero((ends[0] <= y) & (y <= ends[1])))
        error = predicted - batch["duration"].to_numpy()
        for name, place in _sliced(batch, self.training_pairs).items():
            self.counts[name] += np.bincount(place, minlength=len(SLICINGS[name]))
            self.squares[name] += np.bincount(place, error**2, len(SLICINGS[name]))
        self.trips += batch.num_rows
        self.absolute += float(np.abs(error).sum())
        self.signed += float(error.sum())
        self.fourth += float((error**4).sum())

    @property
    def mse(self) -> float:
        """Square minutes."""
        return float(self.squares["weekday"].sum()) / self.trips

    @property
    def rmse(self) -> float:
        """Minutes."""
        return self.mse**0.5

    @property
    def mae(self) -> float:
        """Minutes."""
        return self.absolute / self.trips

    @property
    def bias(self) -> float:
        """Mean of predicted minus measured minutes."""
        return self.signed / self.trips

    @property
    def coverage(self) -> float:
        """Share of the trips whose minutes lie within their interval; 0 for a model without intervals."""
        return self.covered / self.trips

    @property
    def doubt(self) -> float:
        """Standard error of the RMSE, as a share of it."""
        return (max(self.fourth / self.trips - self.mse**2, 0.0) / self.trips) ** 0.5 / self.mse / 2

    def rmse_by(self, slicing: str) -> np.ndarray:
        """Minutes, shape (slices,); NaN where there is no trip."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(self.squares[slicing] / self.counts[slicing])


@dataclass(frozen=True)
class Carried:
    """What one slice adds to the change of the mean squared error, in square minutes.

    mix: because the slice's share of the trips changed; within: because its own trips are predicted worse or better.
    Over all slices of a slicing, mix and within add up to the whole change. rmse_*: minutes, None without a trip.
    """

    slicing: str
    label: str
    share_before: float
    share_now: float
    rmse_before: float | None
    rmse_now: float | None
    mix: float
    within: float

    @property
    def total(self) -> float:
        """Square minutes: `mix` and `within` together."""
        return self.mix + self.within

    def to_dict(self) -> dict[str, Any]:
        """The fields and `total`, for JSON."""
        return {**vars(self), "total": self.total}


def change(before: Errors, now: Errors) -> tuple[float, float, float]:
    """Per cent by which the RMSE changed, and the ends of its 95 % interval, by chance in both sets of trips."""
    ratio, spread = now.rmse / before.rmse, SURE * np.hypot(before.doubt, now.doubt)
    low, high = ratio * np.exp(-spread), ratio * np.exp(spread)
    return 100 * (float(ratio) - 1), 100 * (float(low) - 1), 100 * (float(high) - 1)


def carried(before: Errors, now: Errors, slicing: str) -> list[Carried]:
    """Every slice of one slicing that has trips in either, in the order of its labels."""
    p, q = before.counts[slicing] / before.trips, now.counts[slicing] / now.trips
    found = []
    for place in np.flatnonzero(before.counts[slicing] + now.counts[slicing]):
        had, has = before.counts[slicing][place], now.counts[slicing][place]
        squared_now = now.squares[slicing][place] / has if has else np.nan
        # Without a trip before, all of the slice's distance from the old mean is a matter of the mix.
        squared_before = before.squares[slicing][place] / had if had else squared_now
        mix = (q[place] - p[place]) * (squared_before - before.mse)
        within = q[place] * (squared_now - squared_before) if has else 0.0
        found.append(
            Carried(
                slicing,
                SLICINGS[slicing][place],
                float(p[place]),
                float(q[place]),
                float(squared_before**0.5) if had else None,
                float(squared_now**0.5) if has else None,
                float(mix),
                float(within),
            )
        )
    return found
