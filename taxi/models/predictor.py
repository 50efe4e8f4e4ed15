"""The predictor that is registered and served: fitted features and a fitted estimator turn raw trips into minutes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from taxi.features.fitting import FeatureMap
from taxi.models.families import Estimator, load, read_family
from taxi.models.intervals import Intervals

if TYPE_CHECKING:
    import pandas as pd

# TLC's name of the pickup time, by taxi.
PICKUP = {"green": "lpep_pickup_datetime", "yellow": "tpep_pickup_datetime"}

INTERVALS = "intervals.json"
NOTE = "note"  # the column of an answer that is text


class PredictorError(ValueError):
    """A folder that does not hold a saved predictor."""


@dataclass(frozen=True)
class Predictor:
    """One taxi's model. `predict` on raw trips gives the same bits as `estimator.predict` on the dataset's rows.

    `intervals` is None for a model that was only a candidate in a search.
    """

    taxi: str
    features: FeatureMap
    estimator: Estimator
    intervals: Intervals | None = None

    def predict(self, trips: "pd.DataFrame") -> np.ndarray:
        """Minutes, float64 of shape (n,), for a DataFrame of n raw trips with TLC's columns.

        Zones never seen in training, nulls and absurd distances are answered by the features' fallbacks.
        """
        pickup = PICKUP[self.taxi] if PICKUP[self.taxi] in trips else "pickup_datetime"
        return self.estimator.predict(self.features.matrix(self.features.transform_frame(trips, pickup)))

    def answer(self, trips: "pd.DataFrame") -> dict[str, np.ndarray]:
        """What is served, columns of shape (n,): ``duration`` as from `predict`, with intervals ``duration_low`` and
        ``duration_high``, minutes; and ``note``, what of the trip was unknown, None if nothing was.
        """
        columns = {"duration": self.predict(trips)}
        if self.intervals is not None:
            columns["duration_low"], columns["duration_high"] = self.intervals.bounds(columns["duration"])
        return {**columns, NOTE: self.features.notes(trips)}

    def predict_valid(self, batches: Iterable[pa.RecordBatch]) -> np.ndarray:
        """Minutes, float64 of shape (n,), for a stream of a dataset's valid trips: the same bits, a batch in memory."""
        parts = [np.empty(0)]
        for batch in batches:
            columns = self.features.transform(batch)
            made = {name: columns[name].to_numpy() for name in columns.schema.names}
            parts.append(self.estimator.predict(self.features.matrix(made)))
        return np.concatenate(parts)

    def save(self, folder: Path) -> None:
        """Write ``predictor.json``, ``features/``, ``estimator/`` and, if there are intervals, ``intervals.json``.

        Data only, the same predictor the same bytes.
        """
        folder = Path(folder)
        folder.mkdir(parents=True)
        self.features.save(folder / "features")
        self.estimator.save(folder / "estimator")
        if self.intervals:
            self.intervals.save(folder / INTERVALS)
        (folder / "predictor.json").write_text(json.dumps({"schema": 1, "taxi": self.taxi}, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Raises PredictorError, FeatureError, ModelError or IntervalError for anything but a whole saved predictor."""
        folder = Path(folder)
        try:
            taxi = json.loads((folder / "predictor.json").read_text())["taxi"]
            if taxi not in PICKUP:
                raise KeyError(taxi)
            features, estimator = FeatureMap.load(folder / "features"), folder / "estimator"
            intervals = Intervals.load(folder / INTERVALS) if (folder / INTERVALS).exists() else None
            return cls(taxi, features, load(read_family(estimator), estimator), intervals)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
            raise PredictorError(
                f"{folder} is not a saved predictor that this code reads ({error!r:.200})\n"
                " Register the model again, or use the code of the commit that made it."
            ) from error
