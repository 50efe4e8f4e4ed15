"""A model's error by hour of pickup and by pickup zone, zones with few trips taken together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

FEWEST_TRIPS = 100  # of a slice that is judged; the RMSE of fewer is luck
OWN_GROUP = 0.01  # share of all trips from which a zone is a group of its own
OTHER_ZONES = "all others"

_DAY, _HOUR = 86_400_000_000, 3_600_000_000  # microseconds


@dataclass(frozen=True)
class Rows:
    """What trips are judged by, columns of shape (n,): measured minutes, day since 1970, hour 0..23, pickup zone."""

    y: np.ndarray
    day: np.ndarray
    hour: np.ndarray
    zone: np.ndarray

    @classmethod
    def read(cls, batches: Iterable[pa.RecordBatch]) -> "Rows":
        """Of a stream of valid trips, which must not be empty."""
        parts = []
        for batch in batches:
            pickup = batch["pickup_datetime"].to_numpy().view("int64")
            parts.append((batch["duration"].to_numpy(), (pickup // _DAY).astype(np.int32),
                          (pickup % _DAY // _HOUR).astype(np.int8), batch["PULocationID"].to_numpy()))  # fmt: skip
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Slice:
    """Some of the trips: their number and RMSE in minutes."""

    name: str
    trips: int
    rmse: float


def by_hour(rows: Rows, error: np.ndarray) -> list[Slice]:
    """Hours of pickup that there are, midnight first; `error` in minutes of shape (n,)."""
    found = _slices(rows.hour.astype(np.int64), error)
    return [Slice(f"{hour}:00", trips, rmse) for hour, trips, rmse in found]


def by_zone_group(rows: Rows, error: np.ndarray) -> list[Slice]:
    """Pickup zones with a hundredth of the trips or more each, busiest first, then the others together.

    Every trip is in one group, and a group is large enough to be judged; `error` in minutes of shape (n,).
    """
    trips = np.bincount(rows.zone)
    own = np.flatnonzero(trips >= OWN_GROUP * len(rows.zone))
    own = own[np.argsort(-trips[own], kind="stable")]
    group = np.full(len(trips), len(own))
    group[own] = np.arange(len(own))
    names = [*(f"zone {zone}" for zone in own), OTHER_ZONES]
    return [Slice(names[number], count, rmse) for number, count, rmse in _slices(group[rows.zone], error)]


def worst(slices: list[Slice]) -> Slice:
    """The slice with the largest RMSE among those of 100 trips or more; of all, when none has so many."""
    return max([part for part in slices if part.trips >= FEWEST_TRIPS] or slices, key=lambda part: part.rmse)


def _slices(number: np.ndarray, error: np.ndarray) -> list[tuple[int, int, float]]:
    """(number, trips, RMSE) of each number that there is, the smallest first."""
    trips = np.bincount(number)
    squared = np.bincount(number, error**2)
    return [(int(i), int(trips[i]), float((squared[i] / trips[i]) ** 0.5)) for i in np.flatnonzero(trips)]
