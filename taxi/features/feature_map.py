"""Fitted features: they turn trips into columns. A dataset's row and a served trip get the same bits.

Saved features are data and contain no code.
"""

import json
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxi.features.feature_set import FEATURE_SETS, KNOWN, FeatureError, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

    from taxi.dataset.split import Matrix

SCHEMA_VERSION = 2
DEFINITION = "features.json"
ZONE_IDS = 266  # TLC's ids 1..265, and 0 for any other: unknown
ZONES = ("PULocationID", "DOLocationID")
BETWEEN_NOTES = "; "  # of one trip
MAX_MILES = 100.0  # farther than any taxi drives in an hour: the meter was wrong


class Learner(Protocol):
    """Learns from training trips in one pass. The order and the size of the batches do not change the result."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Valid trips."""

    def result(self) -> np.ndarray:
        """What was learned, of the shape that its FeatureMap says."""


class FeatureMap(ABC):
    """A feature set and what it learned. `columns` are the names that `transform` gives, `labels` those of X."""

    learns: ClassVar[str]  # as FeatureSet.learns; the name of the one table that `save` writes
    learner: ClassVar[type[Learner]]
    kinds: ClassVar[dict[str, type["FeatureMap"]]] = {}

    def __init_subclass__(cls) -> None:
        FeatureMap.kinds[cls.learns] = cls

    def __init__(self, feature_set: FeatureSet, learned: np.ndarray) -> None:
        feature_set.check()
        self.feature_set, self.learned = feature_set, learned

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the feature columns."""
        return tuple(column.name for column in self.feature_set.columns)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns of X: the same, unless a feature takes several."""
        return self.columns

    @property
    def categorical(self) -> frozenset[str]:
        """Labels of the columns of X that hold codes."""
        return frozenset()

    @abstractmethod
    def _columns(
        self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray, miles: np.ndarray, microseconds: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Columns of shape (n,) from zones 0..265 (0 = unknown), miles or NaN, and pickup since 1970."""

    @abstractmethod
    def _unseen(self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray) -> dict[str, np.ndarray]:
        """What training did not have -> which trips that is true of, bool of shape (n,). Zones 0..265 (0 = unknown)."""

    @abstractmethod
    def usual_trips(self) -> list[tuple[int, int, float]]:
        """Two trips between zones that training had: pickup zone, drop-off zone, miles. Fewer if it had none."""

    @abstractmethod
    def matrix(self, columns: dict[str, np.ndarray]) -> "Matrix":
        """X of a Split, shape (n, labels), from the columns of `transform` or `transform_frame`, each of shape (n,)."""

    @abstractmethod
    def _table(self) -> pa.Table:
        """All that was learned."""

    @staticmethod
    @abstractmethod
    def _read(table: pa.Table) -> np.ndarray:
        """What was learned, from its table; raises ValueError or KeyError for any other."""

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Columns for a batch of valid trips."""
        pickup_zone, dropoff_zone, pickup, miles = (batch[name].to_numpy() for name in KNOWN)
        columns = self._columns(pickup_zone, dropoff_zone, miles, pickup.view("int64"))
        return pa.record_batch([columns[name] for name in self.columns], names=list(self.columns))

    @cached_property
    def uses(self) -> frozenset[str]:
        """The trip's own fields that the columns are made of."""
        return frozenset(field for column in self.feature_set.columns for field in column.uses)

    def transform_frame(self, trips: "pd.DataFrame", pickup: str = "pickup_datetime") -> dict[str, np.ndarray]:
        """Columns, shape (n,), for n trips: PULocationID, DOLocationID, trip_distance, and the time `pickup`.

        The same bits as `transform`. Unknown zones, nulls and absurd distances are answered by the fallbacks; the
        distance may be left out when all is known at booking. Raises FeatureError for a pickup time that is missing.
        """
        given = {name: name for name in KNOWN} | {"pickup_datetime": pickup}
        absent = [name for name in KNOWN if name in self.uses and given[name] not in trips]
        if absent:
            raise FeatureError(
                f"the trips have no column {', '.join(absent)}\nFeatures {self.feature_set.name} need it."
            )
        microseconds = _microseconds(trips[pickup])
        pickup_zone, dropoff_zone = (_zones(_numbers(trips, name)) for name in ZONES)
        miles = _numbers(trips, "trip_distance") if "trip_distance" in self.uses else np.full(len(trips), np.nan)
        return self._columns(pickup_zone, dropoff_zone, miles, microseconds)

    def notes(self, trips: "pd.DataFrame") -> np.ndarray:
        """What of each trip counts as unknown, as text for people; None if nothing does. Shape (n,), dtype object."""
        places = {name: _zones(_numbers(trips, name)) for name in ZONES}
        problems = {f"{name} is no zone (1 to {ZONE_IDS - 1})": zones == 0 for name, zones in places.items()}
        problems |= self._unseen(*places.values())
        if "trip_distance" in self.uses:
            miles = _numbers(trips, "trip_distance")
            missing = np.isnan(miles)
            problems["trip_distance is missing"] = missing
            problems[f"trip_distance is not above 0 and at most {MAX_MILES:.0f} miles"] = ~(
                missing | ((miles > 0) & (miles <= MAX_MILES))
            )
        which = np.zeros(len(trips), np.int64)  # of each trip a bit for each problem
        for bit, rows in enumerate(problems.values()):
            which |= rows.astype(np.int64) << bit
        notes = np.full(len(trips), None, dtype=object)
        for bits in np.unique(which[which > 0]).tolist():
            notes[which == bits] = BETWEEN_NOTES.join(text for bit, text in enumerate(problems) if bits >> bit & 1)
        return notes

    def save(self, folder: Path) -> None:
        """Write the definition and one Parquet table: the same features give the same bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self._table(), folder / f"{self.learns}.parquet", compression="zstd", use_dictionary=False)
        definition = {"schema": SCHEMA_VERSION, "feature_set": self.feature_set.name, "columns": list(self.columns)}
        (folder / DEFINITION).write_text(json.dumps(definition, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> "FeatureMap":
        """Raises FeatureError for anything but a folder that `save` wrote with this version."""
        folder = Path(folder)
        try:
            definition = json.loads((folder / DEFINITION).read_text(encoding="utf-8"))
            feature_set = FEATURE_SETS.get(definition["feature_set"])
            same = feature_set and definition["columns"] == [column.name for column in feature_set.columns]
            if feature_set and same and definition["schema"] == SCHEMA_VERSION:
                kind = FeatureMap.kinds[feature_set.learns]
                table = pq.read_table(folder / f"{kind.learns}.parquet", use_threads=False)
                return kind(feature_set, kind._read(table))
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException,
        ) as error:  # fmt: skip
            raise FeatureError(f"{folder} does not hold fitted features ({error})\nMake the dataset again.") from None
        raise FeatureError(f"{folder} holds features of another version of this project\nMake the dataset again.")


def zone_column(table: pa.Table, name: str) -> np.ndarray:
    """Zone ids of a saved table of n rows, int64 of shape (n,). Raises ValueError for one that is no id of TLC's."""
    zones = table[name].to_numpy()
    if len(zones) and (zones.min() < 1 or zones.max() >= ZONE_IDS):
        raise ValueError(f"{name} has zones outside 1..{ZONE_IDS - 1}")
    return zones.astype(np.int64)


def _numbers(trips: "pd.DataFrame", name: str) -> np.ndarray:
    """A column of a DataFrame as float64, NaN for null. Raises FeatureError for what is no number."""
    values = trips[name].to_numpy()
    if values.dtype.kind in "iuf":  # what a server gets, one trip at a time: pandas takes longer than the model
        return values.astype(np.float64)
    import pandas as pd

    try:
        return pd.to_numeric(trips[name]).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise FeatureError(f"column {name} does not hold numbers ({error})\nGive numbers, or nulls.") from None


def _microseconds(times: "pd.Series") -> np.ndarray:
    """Wall-clock times as int64 microseconds since 1970. Raises FeatureError for a missing one."""
    pickup = times.to_numpy()
    if pickup.dtype.kind != "M" or not isinstance(times.dtype, np.dtype):  # text, or with a time zone
        import pandas as pd

        try:
            pickup = pd.to_datetime(times).dt.tz_localize(None).to_numpy()
        except (ValueError, TypeError) as error:
            raise FeatureError(f"pickup times cannot be read ({error})\nGive them as 2023-03-01 08:15:00.") from None
    missing = np.count_nonzero(np.isnat(pickup))
    if missing:
        raise FeatureError(f"{missing} of {len(times)} trips have no pickup time\nGive one for each trip.")
    return pickup.astype("datetime64[us]").view("int64")


def _zones(ids: np.ndarray) -> np.ndarray:
    """Ids as int64 0..265; 0 for anything that is no id of TLC's."""
    known = (ids >= 1) & (ids < ZONE_IDS) & (ids == np.floor(ids))  # false for NaN
    return np.where(known, ids, 0).astype(np.int64)
