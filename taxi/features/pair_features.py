"""`course`: the pair of zones one-hot, and the metered distance as it is; scikit-learn's DictVectorizer, as arrays."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from taxi.features.feature_map import ZONE_IDS, FeatureMap, zone_column
from taxi.features.feature_set import FeatureSet

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class PairsSeen:
    """Pairs of zones in the training months, int64 keys pickup * ZONES + drop-off, sorted by name as texts are."""

    def __init__(self) -> None:
        self._seen = np.zeros(ZONE_IDS * ZONE_IDS, bool)

    def add(self, batch: pa.RecordBatch) -> None:
        """Note the pairs of a batch of valid trips."""
        self._seen[_pairs(batch["PULocationID"].to_numpy(), batch["DOLocationID"].to_numpy())] = True

    def result(self) -> np.ndarray:
        """The keys, shape (pairs seen,)."""
        return np.array(sorted(np.flatnonzero(self._seen).tolist(), key=_name), dtype=np.int64)


class PairFeatures(FeatureMap):
    """What is learned are the pairs seen, in the order of their columns in X."""

    learns = "pairs"
    learner = PairsSeen

    def __init__(self, feature_set: FeatureSet, learned: np.ndarray) -> None:
        super().__init__(feature_set, learned)
        self._code = np.full(ZONE_IDS * ZONE_IDS, -1, np.int32)
        self._code[learned] = np.arange(len(learned))

    @property
    def labels(self) -> tuple[str, ...]:
        """``PU_DO=<pickup>_<drop-off>`` for each pair seen, then ``trip_distance``."""
        return (*(f"PU_DO={_name(pair)}" for pair in self.learned.tolist()), "trip_distance")

    def _columns(
        self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray, miles: np.ndarray, microseconds: np.ndarray
    ) -> dict[str, np.ndarray]:
        miles = np.where(np.isnan(miles), 0.0, miles)  # 0 is TLC's "not measured"
        return {"PU_DO": self._code[_pairs(pickup_zone, dropoff_zone)], "trip_distance": miles}

    def _unseen(self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray) -> dict[str, np.ndarray]:
        no_zone = (pickup_zone == 0) | (dropoff_zone == 0)  # which is a note of its own
        unseen = self._code[_pairs(pickup_zone, dropoff_zone)] < 0
        return {"PULocationID and DOLocationID were no pair in training": unseen & ~no_zone}

    def usual_trips(self) -> list[tuple[int, int, float]]:
        """Of the pairs, the first and the middle one."""
        pairs = [int(pair) for pair in self.learned[[0, len(self.learned) // 2]]] if len(self.learned) else []
        return [(pair // ZONE_IDS, pair % ZONE_IDS, miles) for pair, miles in zip(pairs, (1.2, 2.9), strict=False)]

    def matrix(self, columns: dict[str, np.ndarray]) -> "csr_matrix":
        """CSR float64 of shape (n, pairs + 1): a pair never seen has no one, but its distance."""
        from scipy.sparse import csr_matrix

        code, miles = columns["PU_DO"], columns["trip_distance"]
        seen = code >= 0
        ends = np.cumsum(1 + seen)
        indices = np.empty(ends[-1] if len(ends) else 0, np.int32)
        values = np.ones(len(indices), np.float64)
        indices[ends - 1], values[ends - 1] = len(self.learned), miles
        indices[(ends - 2)[seen]] = code[seen]
        return csr_matrix((values, indices, np.concatenate([[0], ends])), shape=(len(code), len(self.learned) + 1))

    def _table(self) -> pa.Table:
        return pa.table({"PULocationID": self.learned // ZONE_IDS, "DOLocationID": self.learned % ZONE_IDS})

    @staticmethod
    def _read(table: pa.Table) -> np.ndarray:
        return _pairs(zone_column(table, "PULocationID"), zone_column(table, "DOLocationID"))


def _pairs(pickup_zone: np.ndarray, dropoff_zone: np.ndarray) -> np.ndarray:
    return pickup_zone * np.int64(ZONE_IDS) + dropoff_zone


def _name(pair: int) -> str:
    return f"{pair // ZONE_IDS}_{pair % ZONE_IDS}"
