"""Feature sets: which columns, when each is known, fitted on training trips alone, saved as data."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxi.statistics import FOLDS, KEYS, Statistics, Trips

SCHEMA_VERSION = 1
BOOKING, DROPOFF = "booking", "dropoff"
# Trips' worth of the coarser mean that a finer one is mixed with; chosen on validation months.
SMOOTHING = {"zone": 20.0, "pair": 10.0, "part": 10.0, "hour": 50.0}


class FeatureError(ValueError):
    """Features that break their own declaration, or a folder that does not hold fitted ones."""


@dataclass(frozen=True)
class Column:
    """One feature. `known` is when: at booking, or at drop-off. `uses` are the trip's own fields it is made of."""

    name: str
    known: str
    uses: tuple[str, ...]
    categorical: bool = False


@dataclass(frozen=True)
class FeatureSet:
    """A named choice of columns; `in_month` drops pickups outside the file's month."""

    name: str
    columns: tuple[Column, ...]
    in_month: bool = True

    def check(self) -> None:
        """Raise FeatureError when a column is made of something known only later than it says."""
        for column in self.columns:
            late = [field for field in column.uses if KNOWN[field] == DROPOFF]
            if column.known == BOOKING and late:
                raise FeatureError(
                    f"feature {column.name} is declared known at booking, but {', '.join(late)} is known at drop-off\n"
                    " Declare it known at drop-off, or leave it out of this set."
                )

    @property
    def known_at_booking(self) -> bool:
        return all(column.known == BOOKING for column in self.columns)


KNOWN = {"PULocationID": BOOKING, "DOLocationID": BOOKING, "pickup_datetime": BOOKING, "trip_distance": DROPOFF}

_PLACE, _TIME = ("PULocationID", "DOLocationID"), ("pickup_datetime",)
_AT_BOOKING = (
    Column("PULocationID", BOOKING, _PLACE[:1], categorical=True),
    Column("DOLocationID", BOOKING, _PLACE[1:], categorical=True),
    Column("minute_of_day", BOOKING, _TIME),
    Column("day_of_week", BOOKING, _TIME),
    Column("mean_pickup_zone", BOOKING, _PLACE[:1]),
    Column("mean_dropoff_zone", BOOKING, _PLACE[1:]),
    Column("mean_pair", BOOKING, _PLACE),
    Column("mean_pair_part", BOOKING, _PLACE + _TIME),
    Column("mean_hour_of_week", BOOKING, _TIME),
    Column("trips_pair", BOOKING, _PLACE),
    Column("distance_pair", BOOKING, _PLACE),
    Column("pace_pair", BOOKING, _PLACE),
    Column("pace_hour_of_week", BOOKING, _TIME),
    Column("pace_pickup_zone_part", BOOKING, _PLACE[:1] + _TIME),
    Column("pace_dropoff_zone_part", BOOKING, _PLACE[1:] + _TIME),
    Column("expected_minutes", BOOKING, _PLACE + _TIME),
)
_AT_DROPOFF = (
    Column("trip_distance", DROPOFF, ("trip_distance",)),
    Column("distance_or_usual", DROPOFF, ("trip_distance", *_PLACE)),
    Column("distance_to_usual", DROPOFF, ("trip_distance", *_PLACE)),
    Column("implied_minutes", DROPOFF, ("trip_distance", *_PLACE, *_TIME)),
)
_COURSE = (
    Column("PU_DO", BOOKING, _PLACE, categorical=True),
    Column("trip_distance", DROPOFF, ("trip_distance",)),
)
FEATURE_SETS = {
    "course": FeatureSet("course", _COURSE, in_month=False),
    "full": FeatureSet("full", _AT_BOOKING + _AT_DROPOFF),
    "pickup": FeatureSet("pickup", _AT_BOOKING),
}


class FeatureMap:
    """Fitted features: from trips to columns, the same for a dataset's rows and for one served trip."""

    def __init__(self, feature_set: FeatureSet) -> None:
        feature_set.check()
        self.feature_set = feature_set

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.feature_set.columns)

    @property
    def categorical(self) -> frozenset[str]:
        return frozenset(column.name for column in self.feature_set.columns if column.categorical)

    def transform_frame(self, trips) -> dict[str, np.ndarray]:
        """Columns for a pandas DataFrame with PULocationID, DOLocationID, trip_distance and pickup_datetime.

        Nulls, unknown zones and absurd distances are answered by the fallbacks. Raises FeatureError for a pickup
        time that is missing.
        """
        import pandas as pd

        pickup = pd.to_datetime(trips["pickup_datetime"]).astype("datetime64[us]")
        zones = [pd.to_numeric(trips[name]).fillna(0).to_numpy() for name in ("PULocationID", "DOLocationID")]
        missing = pickup.isna().to_numpy()
        microseconds = pickup.to_numpy().view("int64")
        if missing.any():
            raise FeatureError(
                f"{int(missing.sum())} of {len(trips)} trips have no pickup time\n Give one for each trip."
            )
        miles = pd.to_numeric(trips["trip_distance"]).to_numpy(dtype=np.float64, na_value=np.nan)
        return self._columns(*zones, miles, microseconds, None)

    def transform(self, batch: pa.RecordBatch, fold: np.ndarray | None = None) -> pa.RecordBatch:
        """Columns for a batch of valid trips; `fold` (n,) for training trips, which are left out of their own means."""
        columns = self._columns(*_arrays(batch)[:4], fold)
        return pa.record_batch([pa.array(columns[name]) for name in self.columns], names=list(self.columns))

    def save(self, folder: Path) -> None:
        """Write ``features.json`` and one Parquet table per statistic: the same features give the same bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self._tables().items():
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        definition = {"schema": SCHEMA_VERSION, "feature_set": self.feature_set.name, "columns": list(self.columns)}
        (folder / "features.json").write_text(json.dumps(definition, indent=1, sort_keys=True) + "\n")

    @staticmethod
    def load(folder: Path) -> "FeatureMap":
        """Raises FeatureError for anything but a folder that `save` wrote with this version."""
        folder = Path(folder)
        try:
            definition = json.loads((folder / "features.json").read_text())
            kind = CourseFeatures if definition["feature_set"] == "course" else EncodedFeatures
            features = kind._read(FEATURE_SETS[definition["feature_set"]], folder)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise FeatureError(f"{folder} does not hold fitted features ({error})\n Make the dataset again.") from None
        if definition["schema"] != SCHEMA_VERSION or definition["columns"] != list(features.columns):
            raise FeatureError(f"{folder} holds features of another version of this project\n Make the dataset again.")
        return features


class EncodedFeatures(FeatureMap):
    """`full` and `pickup`: place, time and what past trips say of them."""

    def __init__(self, feature_set: FeatureSet, statistics: Statistics) -> None:
        super().__init__(feature_set)
        self.statistics = statistics

    def matrix(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """float32 of shape (n, k)."""
        return np.column_stack([columns[name] for name in self.columns])

    def _tables(self) -> dict[str, pa.Table]:
        return {name: self.statistics.table(name) for name in self.statistics.names}

    @classmethod
    def _read(cls, feature_set: FeatureSet, folder: Path) -> "EncodedFeatures":
        return cls(
            feature_set, Statistics.from_tables({name: pq.read_table(folder / f"{name}.parquet") for name in KEYS})
        )

    def _columns(self, pickup_zone, dropoff_zone, miles, microseconds, fold) -> dict[str, np.ndarray]:
        trips = Trips.of(pickup_zone, dropoff_zone, miles, microseconds)
        sums = {name: self.statistics.sums(name, trips, fold) for name in KEYS}
        overall = _ratio(sums["all"][1], sums["all"][0], 1.0)  # microseconds a trip
        pickup_mean = _smooth(sums["pickup_zone"], overall, SMOOTHING["zone"])
        dropoff_mean = _smooth(sums["dropoff_zone"], overall, SMOOTHING["zone"])
        pair_mean = _smooth(sums["pair"], pickup_mean + dropoff_mean - overall, SMOOTHING["pair"])
        pace = _ratio(sums["all"][3], sums["all"][4], 1.0)  # microseconds a hundredth of a mile
        length = _ratio(sums["all"][4], sums["all"][2], 1.0)  # hundredths of a mile a trip
        pair_pace = _smooth_pace(sums["pair"], pace, length, SMOOTHING["pair"])
        hour_pace = _smooth_pace(sums["hour_of_week"], pace, length, SMOOTHING["hour"])
        pair_length = (sums["pair"][4] + 5.0 * length) / (sums["pair"][2] + 5.0)
        given = np.where(trips.centimiles > 0, trips.centimiles, np.nan)
        either = np.where(trips.centimiles > 0, trips.centimiles, pair_length)
        traffic = hour_pace / pace
        minute, mile = 60e6, 100.0
        columns = {
            "PULocationID": trips.pickup_zone,
            "DOLocationID": trips.dropoff_zone,
            "minute_of_day": trips.minute_of_day,
            "day_of_week": trips.day,
            "mean_pickup_zone": pickup_mean / minute,
            "mean_dropoff_zone": dropoff_mean / minute,
            "mean_pair": pair_mean / minute,
            "mean_pair_part": _smooth(sums["pair_part"], pair_mean, SMOOTHING["part"]) / minute,
            "mean_hour_of_week": _smooth(sums["hour_of_week"], overall, SMOOTHING["hour"]) / minute,
            "trips_pair": np.log1p(sums["pair"][0]),
            "distance_pair": pair_length / mile,
            "pace_pair": pair_pace * mile / minute,
            "pace_hour_of_week": hour_pace * mile / minute,
            "pace_pickup_zone_part": _smooth_pace(sums["pickup_zone_part"], hour_pace, length, 20.0) * mile / minute,
            "pace_dropoff_zone_part": _smooth_pace(sums["dropoff_zone_part"], hour_pace, length, 20.0) * mile / minute,
            "expected_minutes": pair_length * pair_pace * traffic / minute,
            "trip_distance": given / mile,
            "distance_or_usual": either / mile,
            "distance_to_usual": either / pair_length,
            "implied_minutes": either * pair_pace * traffic / minute,
        }
        return {name: columns[name].astype(np.float32) for name in self.columns}


class CourseFeatures(FeatureMap):
    """The course's: the pair of zones one-hot, and the metered distance."""

    def __init__(self, feature_set: FeatureSet, pairs: np.ndarray) -> None:
        super().__init__(feature_set)
        self.pairs = pairs  # int64 (n_pairs, 2), in the order of their names: DictVectorizer's
        self._code = {(int(pickup), int(dropoff)): code for code, (pickup, dropoff) in enumerate(pairs)}

    def matrix(self, columns: dict[str, np.ndarray]):
        """CSR float64 of shape (n, pairs + 1), as DictVectorizer gives: a pair never seen has no one."""
        from scipy.sparse import csr_matrix

        code, miles = columns["PU_DO"], columns["trip_distance"]
        seen = code >= 0
        ends = np.cumsum(1 + seen)
        indices = np.empty(ends[-1] if len(ends) else 0, np.int32)
        data = np.ones(len(indices), np.float64)
        indices[ends - 1], data[ends - 1] = len(self.pairs), miles
        indices[(ends - 2)[seen]] = code[seen]
        return csr_matrix((data, indices, np.concatenate([[0], ends])), shape=(len(code), len(self.pairs) + 1))

    def _tables(self) -> dict[str, pa.Table]:
        return {"pairs": pa.table({"PULocationID": self.pairs[:, 0], "DOLocationID": self.pairs[:, 1]})}

    @classmethod
    def _read(cls, feature_set: FeatureSet, folder: Path) -> "CourseFeatures":
        table = pq.read_table(folder / "pairs.parquet")
        return cls(feature_set, np.column_stack([table["PULocationID"].to_numpy(), table["DOLocationID"].to_numpy()]))

    def _columns(self, pickup_zone, dropoff_zone, miles, microseconds, fold) -> dict[str, np.ndarray]:
        pairs = zip(np.asarray(pickup_zone).tolist(), np.asarray(dropoff_zone).tolist(), strict=True)
        code = np.fromiter((self._code.get(pair, -1) for pair in pairs), np.int32, len(pickup_zone))
        return {"PU_DO": code, "trip_distance": np.asarray(miles, np.float64)}


def fold_of(first_row: int, rows: int) -> np.ndarray:
    """Folds of a month's valid trips `first_row` and on, by position: int64 of shape (rows,)."""
    return (first_row + np.arange(rows)) % FOLDS


def fit(feature_set: FeatureSet, months: Iterable[Iterable[pa.RecordBatch]]) -> FeatureMap:
    """Fit on the valid trips of the training months, each a stream of batches; memory does not grow with them."""
    feature_set.check()
    if feature_set.name == "course":
        seen = np.zeros(266 * 266, bool)
        for month in months:
            for batch in month:
                pickup_zone, dropoff_zone, *_ = _arrays(batch)
                seen[pickup_zone * 266 + dropoff_zone] = True
        pairs = [(int(key) // 266, int(key) % 266) for key in np.flatnonzero(seen)]
        pairs.sort(key=lambda pair: f"{pair[0]}_{pair[1]}")
        return CourseFeatures(feature_set, np.array(pairs, np.int64).reshape(-1, 2))
    statistics = Statistics(tuple(KEYS))
    for month in months:
        row = 0
        for batch in month:
            statistics.add(Trips.of(*_arrays(batch)), fold_of(row, batch.num_rows))
            row += batch.num_rows
    return EncodedFeatures(feature_set, statistics)


def _arrays(batch: pa.RecordBatch) -> tuple[np.ndarray, ...]:
    """Zones, miles, pickup in microseconds and minutes of a batch of valid trips."""
    zones = [batch[name].to_numpy().astype(np.int64) for name in ("PULocationID", "DOLocationID")]
    return (
        *zones,
        batch["trip_distance"].to_numpy(),
        batch["pickup_datetime"].to_numpy().view("int64"),
        batch["duration"].to_numpy(),
    )


def _ratio(sums: np.ndarray, counts: np.ndarray, default: float) -> np.ndarray:
    return np.where(counts > 0, sums / np.maximum(counts, 1), default)


def _smooth(sums: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """Mean microseconds of a key, with `weight` trips of the prior mixed in."""
    return (sums[1] + weight * prior) / (sums[0] + weight)


def _smooth_pace(sums: np.ndarray, prior: np.ndarray, length: np.ndarray, weight: float) -> np.ndarray:
    """Microseconds a hundredth of a mile, with `weight` trips of usual length at the prior pace mixed in."""
    return (sums[3] + weight * length * prior) / (sums[4] + weight * length)
