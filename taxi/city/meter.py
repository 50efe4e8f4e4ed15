"""The meters' records of the rides: times and distances with the defects that TLC's files have.

Rates are per ride and near those of the green files of 2023; docs/data.md compares.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from taxi.city.rides import Rides, draw_rides, hours

CLOCK_DEFECTS = {
    "cancelled": 0.023,  # within a minute of the start
    "left running": 0.007,  # one to three hours
    "until tomorrow": 0.0025,  # most of a day
    "backwards": 0.0005,  # drop-off before pickup
    "never set": 0.0002,  # New Year of 2009
    "last month": 0.0002,  # pickup hours before the month
}
DISTANCE_DEFECTS = {"zero": 0.025, "absurd": 0.0006, "missing": 0.0002}


@dataclass(frozen=True)
class Records:
    """Columns of shape (n_rides,), as recorded; the rides themselves are beside them."""

    rides: Rides
    pickup: np.ndarray  # datetime64[s], wall clock
    dropoff: np.ndarray
    miles: np.ndarray
    miles_missing: np.ndarray  # bool
    clock_right: np.ndarray  # bool: pickup and drop-off are the ride's own
    miles_right: np.ndarray  # bool


def meter_records(taxi: str, name: str, rows: int, chunk: int) -> tuple[Records, np.random.Generator]:
    """One chunk of a month of `rows` records, and the generator after it."""
    rides, rng = draw_rides(taxi, name, rows, chunk)
    n = len(rides.miles)
    pickup, seconds, miles = rides.pickup.copy(), rides.seconds.copy(), rides.miles.copy()

    clock = _defects(CLOCK_DEFECTS, rng.random(n))
    for defect, (low, high) in {
        "cancelled": (0, 60),
        "left running": (3_660, 10_800),
        "until tomorrow": (82_800, 86_400),
        "backwards": (-1_800, 0),
    }.items():
        seconds[clock[defect]] = rng.integers(low, high, len(clock[defect]))
    pickup[clock["last month"]] = -rng.integers(1, 10_800, len(clock["last month"]))
    start = hours(name)[0].astype("datetime64[s]")
    never = np.datetime64("2009-01-01", "s") - start
    pickup[clock["never set"]] = never.astype("int64") + rng.integers(0, 10_800, len(clock["never set"]))

    distance = _defects(DISTANCE_DEFECTS, rng.random(n))
    miles[distance["zero"]] = 0.0
    miles[distance["absurd"]] = np.rint(10 ** rng.uniform(5, 7.25, len(distance["absurd"]))) / 100
    records = Records(
        rides,
        pickup=start + pickup,
        dropoff=start + pickup + seconds,
        miles=miles,
        miles_missing=_mask(n, [distance["missing"]]),
        clock_right=~_mask(n, clock.values()),
        miles_right=~_mask(n, distance.values()),
    )
    return records, rng


def _defects(rates: dict[str, float], chance: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows have which defect: at most one each, by uniform `chance`."""
    bad = np.flatnonzero(chance < sum(rates.values()))
    which = np.searchsorted(np.cumsum(list(rates.values())), chance[bad], side="right")
    return {defect: bad[which == number] for number, defect in enumerate(rates)}


def _mask(n: int, rows: Iterable[np.ndarray]) -> np.ndarray:
    """bool of shape (n,), true in these rows."""
    mask = np.zeros(n, bool)
    mask[np.concatenate(list(rows))] = True
    return mask
