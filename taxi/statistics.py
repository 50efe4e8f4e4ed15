"""What past trips say of a place or an hour: sums over the training months, by key, exact in any order.

Every sum is of whole numbers (microseconds, hundredths of a mile), so that batches, workers and engines that cut the
months differently get the same bits. Means are taken when a trip asks for them, drawn towards a coarser mean where
trips are few, and for a training trip without its own fold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

FOLDS = 5  # of the training trips: each is described by the other four alone
ZONES = 266  # TLC's ids 1..265, and 0 for any other: unknown
MAX_CENTIMILES = 10_000  # 100 miles; farther than any trip of an hour, so the meter was wrong
PARTS = np.array([0] * 6 + [1] * 4 + [2] * 5 + [3] * 4 + [4] * 3 + [5] * 2)  # of the day, by hour
WEEKEND = 6  # the one part that Saturday and Sunday have

_MINUTE = 60_000_000  # microseconds


@dataclass(frozen=True)
class Trips:
    """Columns of shape (n,), int64: zones 0..265, hour of the week 0..167, minute of the day, hundredths of a mile
    (0 = not measured) and, in training, microseconds the trip took."""

    pickup_zone: np.ndarray
    dropoff_zone: np.ndarray
    hour_of_week: np.ndarray
    minute_of_day: np.ndarray
    centimiles: np.ndarray
    microseconds: np.ndarray | None = None

    @classmethod
    def of(cls, pickup_zone, dropoff_zone, miles, pickup_microseconds, minutes=None) -> "Trips":
        """From arrays of shape (n,): ids as TLC has them, miles, wall-clock microseconds since 1970, minutes."""
        minute = pickup_microseconds // _MINUTE
        miles = np.asarray(miles, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            measured = (miles > 0) & (miles * 100 <= MAX_CENTIMILES)
        return cls(
            _known(pickup_zone),
            _known(dropoff_zone),
            (minute // 60 + 72) % 168,  # 1970 began on a Thursday; hour 0 is Monday's first
            minute % 1440,
            np.rint(np.where(measured, miles, 0.0) * 100).astype(np.int64),
            None if minutes is None else np.rint(np.asarray(minutes) * _MINUTE).astype(np.int64),
        )

    @property
    def hour(self) -> np.ndarray:
        return self.hour_of_week % 24

    @property
    def day(self) -> np.ndarray:
        return self.hour_of_week // 24

    @property
    def part(self) -> np.ndarray:
        return np.where(self.day >= 5, WEEKEND, PARTS[self.hour])

    @property
    def pair(self) -> np.ndarray:
        return self.pickup_zone * ZONES + self.dropoff_zone


def _known(zones) -> np.ndarray:
    zones = np.asarray(zones).astype(np.int64)
    return np.where((zones > 0) & (zones < ZONES), zones, 0)


@dataclass(frozen=True)
class Keys:
    """A way to group trips: `of(trips)` gives int64 keys of shape (n,) in 0..size-1."""

    size: int
    of: Callable[[Trips], np.ndarray]


KEYS: dict[str, Keys] = {
    "all": Keys(1, lambda trips: np.zeros_like(trips.hour)),
    "pickup_zone": Keys(ZONES, lambda trips: trips.pickup_zone),
    "dropoff_zone": Keys(ZONES, lambda trips: trips.dropoff_zone),
    "hour_of_week": Keys(168, lambda trips: trips.hour_of_week),
    "pickup_zone_part": Keys(ZONES * 7, lambda trips: trips.pickup_zone * 7 + trips.part),
    "dropoff_zone_part": Keys(ZONES * 7, lambda trips: trips.dropoff_zone * 7 + trips.part),
    "pair": Keys(ZONES * ZONES, lambda trips: trips.pair),
    "pair_part": Keys(ZONES * ZONES * 7, lambda trips: trips.pair * 7 + trips.part),
}
# Sums kept for each key: trips, their microseconds; and of those with a measured distance the same and the distance.
SUMS = ("trips", "microseconds", "measured", "measured_microseconds", "centimiles")


class Statistics:
    """Sums by key, in total and (while fitting) by fold. `add` in any order gives the same sums."""

    def __init__(self, names: tuple[str, ...], folds: int = FOLDS) -> None:
        self.names, self.folds = names, folds
        self._by_fold = {name: np.zeros((len(SUMS), folds, KEYS[name].size), np.int64) for name in names}
        self._total: dict[str, np.ndarray] | None = None

    def add(self, trips: Trips, fold: np.ndarray) -> None:
        """Count trips of shape (n,), each in its fold."""
        measured = trips.centimiles > 0
        zero = np.int64(0)
        values = (
            None,
            trips.microseconds,
            measured,
            np.where(measured, trips.microseconds, zero),
            trips.centimiles,
        )
        for name in self.names:
            keys = KEYS[name]
            cell = fold * keys.size + keys.of(trips)
            for row, weights in enumerate(values):
                # float64 sums of a batch stay below 2**53, hence exact
                summed = np.bincount(cell, weights, minlength=self.folds * keys.size)
                self._by_fold[name][row] += summed.astype(np.int64).reshape(self.folds, keys.size)
        self._total = None

    def sums(self, name: str, trips: Trips, fold: np.ndarray | None) -> np.ndarray:
        """int64 of shape (5, n): what `SUMS` are for each trip's key, without its own fold when it has one."""
        if self._total is None:
            self._total = {name: sums.sum(axis=1) for name, sums in self._by_fold.items()}
        keys = KEYS[name].of(trips)
        total = self._total[name][:, keys]
        return total if fold is None else total - self._by_fold[name][:, fold, keys]

    def table(self, name: str) -> pa.Table:
        """Keys that were seen, ascending, and their sums: what is saved."""
        total = self._by_fold[name].sum(axis=1)
        seen = np.flatnonzero(total[0])
        return pa.table({"key": seen, **{column: total[row, seen] for row, column in enumerate(SUMS)}})

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table]) -> "Statistics":
        """The totals alone: enough for trips that were not trained on. Raises ValueError for keys out of range."""
        found = cls(tuple(tables), folds=1)
        for name, table in tables.items():
            keys = table["key"].to_numpy()
            if len(keys) and (keys.min() < 0 or keys.max() >= KEYS[name].size):
                raise ValueError(f"table {name} has keys out of range")
            for row, column in enumerate(SUMS):
                found._by_fold[name][row, 0, keys] = table[column].to_numpy()
        return found
