"""Drift: compare trips of new months with the training trips, by counts in fixed bins."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from taxi.features.feature_map import ZONE_IDS
from taxi.months.trips import DURATION_MINUTES

MOVED, MOVED_FAR = 0.1, 0.25  # PSI. Source: the usual rule of credit scoring (Siddiqi, Credit Risk Scorecards, 2006)
SURE = 0.99  # a column counts as moved only beyond what so many of 100 pairs of samples from one city stay below
TOLD = 3  # bins of a column that its line names

MILE_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 100.0)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MINUTE = 60_000_000  # microseconds


@dataclass(frozen=True)
class Bins:
    """How one fact about a trip is counted. `uses` is the trip's own field; `ordered` bins have a KS distance."""

    name: str
    uses: str
    labels: tuple[str, ...]
    ordered: bool = True


def _ranges(edges: tuple[float, ...], unit: str) -> tuple[str, ...]:
    """``0``, ``0 to 0.5``, ``0.5 to 1``, ..., ``above 100``: closed above."""
    between = [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    return (f"{edges[0]:g} {unit}", *between, f"above {edges[-1]:g} {unit}")


_ZONE_LABELS = tuple(f"zone {zone}" for zone in range(ZONE_IDS))
COLUMNS = (
    Bins("PULocationID", "PULocationID", _ZONE_LABELS, ordered=False),
    Bins("DOLocationID", "DOLocationID", _ZONE_LABELS, ordered=False),
    Bins("trip_distance", "trip_distance", _ranges(MILE_EDGES, "miles")),
    Bins("hour", "pickup_datetime", tuple(f"{hour:02}:00" for hour in range(24))),
    Bins("weekday", "pickup_datetime", DAYS, ordered=False),
    Bins("duration", "duration", tuple(f"{minute} min" for minute in range(DURATION_MINUTES[1] + 1))),
)


def binned(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Column name -> bin of each of a batch's valid trips, int64 of shape (n,)."""
    minutes = batch["pickup_datetime"].to_numpy().view("int64") // _MINUTE
    days = minutes // 1440
    return {
        "PULocationID": batch["PULocationID"].to_numpy().astype(np.int64),
        "DOLocationID": batch["DOLocationID"].to_numpy().astype(np.int64),
        "trip_distance": np.searchsorted(MILE_EDGES, batch["trip_distance"].to_numpy(), side="left"),
        "hour": minutes // 60 % 24,
        "weekday": (days + 3) % 7,  # 1970 began on a Thursday
        "duration": batch["duration"].to_numpy().astype(np.int64),
    }


@dataclass
class Profile:
    """What trips look like: `add` batches of valid ones in any order, cut anyhow; memory does not grow with them."""

    trips: int = 0
    counts: dict[str, np.ndarray] = field(
        default_factory=lambda: {column.name: np.zeros(len(column.labels), np.int64) for column in COLUMNS}
    )
    pairs: np.ndarray = field(default_factory=lambda: np.zeros(ZONE_IDS * ZONE_IDS, np.int64))

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the valid trips of a batch."""
        bins = binned(batch)
        for name, counted in self.counts.items():
            counted += np.bincount(bins[name], minlength=len(counted))
        self.pairs += np.bincount(bins["PULocationID"] * ZONE_IDS + bins["DOLocationID"], minlength=ZONE_IDS * ZONE_IDS)
        self.trips += batch.num_rows


@dataclass(frozen=True)
class Shift:
    """How far one column's distribution moved between two profiles.

    psi: population stability index, of the bins that either has, half a trip added to each. by_chance: what `SURE` of
    all pairs of such samples from one city stay below. ks: largest distance of the cumulative shares, None for bins
    without an order. most: the bins that moved most, as (label, share before, share now).
    """

    column: str
    psi: float
    by_chance: float
    ks: float | None
    most: tuple[tuple[str, float, float], ...]

    @property
    def level(self) -> str:
        """``steady``, ``moved`` or ``moved far``."""
        if self.psi <= max(MOVED, self.by_chance):
            return "steady"
        return "moved far" if self.psi > MOVED_FAR else "moved"

    def to_dict(self) -> dict[str, Any]:
        """The fields and `level`, for JSON."""
        return {**asdict(self), "level": self.level}


def shifts(before: Profile, now: Profile, fields: frozenset[str]) -> list[Shift]:
    """Of each column made of one of a trip's `fields`, and of the durations; those that moved most first."""
    wanted = [column for column in COLUMNS if column.uses in fields or column.uses == "duration"]
    found = [shift(column, before.counts[column.name], now.counts[column.name]) for column in wanted]
    return sorted(found, key=lambda item: -item.psi)


def shift(column: Bins, before: np.ndarray, now: np.ndarray) -> Shift:
    """From the counts of both, int64 of shape (bins,), at least one trip in each."""
    from scipy.stats import chi2

    some = np.flatnonzero(before + now)
    n, m = before.sum(), now.sum()
    p, q = ((counts[some] + 0.5) / (counts.sum() + 0.5 * len(some)) for counts in (before, now))
    parts = (q - p) * np.log(q / p)
    ks = float(np.abs(np.cumsum(before) / n - np.cumsum(now) / m).max()) if column.ordered else None
    # Without drift, PSI is near chi-squared with bins - 1 degrees of freedom (Yurdakul, Naranjo, 2020).
    by_chance = float(chi2.ppf(SURE, len(some) - 1) * (1 / n + 1 / m)) if len(some) > 1 else 0.0
    most = [some[place] for place in np.argsort(-parts, kind="stable")[:TOLD]]
    told = tuple((column.labels[place], float(before[place] / n), float(now[place] / m)) for place in most)
    return Shift(column.name, float(parts.sum()), by_chance, ks, told)


def unseen(before: Profile, now: Profile) -> dict[str, float]:
    """Shares of the trips of `now` with a pickup zone, drop-off zone or pair of zones that `before` has no trip of."""
    pairs = {"PULocationID": (before.counts["PULocationID"], now.counts["PULocationID"]),
             "DOLocationID": (before.counts["DOLocationID"], now.counts["DOLocationID"]),
             "pair": (before.pairs, now.pairs)}  # fmt: skip
    return {name: float(after[had == 0].sum() / now.trips) for name, (had, after) in pairs.items()}


def dropped_shares(read: int, dropped: Mapping[str, int]) -> dict[str, float]:
    """Reason -> share of the raw records read that were dropped for it."""
    return {reason: count / read for reason, count in sorted(dropped.items())}
