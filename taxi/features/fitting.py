"""Features by the name of their set: fitted on training trips in one pass, read back from a folder."""

from collections.abc import Iterable

import pyarrow as pa

from taxi.features.feature_map import FeatureMap
from taxi.features.feature_set import FEATURE_SETS, Column, FeatureError, FeatureSet
from taxi.features.map_features import MapFeatures
from taxi.features.pair_features import PairFeatures

__all__ = ["FEATURE_SETS", "Column", "FeatureError", "FeatureMap", "FeatureSet", "Fitting", "MapFeatures",
           "PairFeatures", "fit"]  # fmt: skip


class Fitting:
    """Features in the making: `add` every batch of the training months, in any order, then `finish`."""

    def __init__(self, feature_set: FeatureSet) -> None:
        feature_set.check()
        self.feature_set = feature_set
        self._kind = FeatureMap.kinds[feature_set.learns]
        self._learner = self._kind.learner()

    def add(self, batch: pa.RecordBatch) -> None:
        """Learn of the valid trips of a batch of a training month."""
        self._learner.add(batch)

    def finish(self) -> FeatureMap:
        """The features, learned of what was added."""
        return self._kind(self.feature_set, self._learner.result())


def fit(feature_set: FeatureSet, months: Iterable[Iterable[pa.RecordBatch]]) -> FeatureMap:
    """Fit on the valid trips of the training months, each a stream of batches; memory does not grow with them."""
    fitting = Fitting(feature_set)
    for month in months:
        for batch in month:
            fitting.add(batch)
    return fitting.finish()
