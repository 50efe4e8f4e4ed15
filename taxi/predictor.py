"""What is registered and served: fitted features and a fitted estimator, from raw trips to minutes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taxi.features import FeatureMap
from taxi.models import Estimator, load, read_family

# TLC's name of the pickup time, by taxi.
PICKUP = {"green": "lpep_pickup_datetime", "yellow": "tpep_pickup_datetime"}


class PredictorError(ValueError):
    """A folder that does not hold a saved predictor."""


@dataclass(frozen=True)
class Predictor:
    """One taxi's model. `predict` on raw trips gives the same bits as `estimator.predict` on the dataset's rows."""

    taxi: str
    features: FeatureMap
    estimator: Estimator

    def predict(self, trips: Any) -> np.ndarray:
        """Minutes, float64 of shape (n,), for a DataFrame of n raw trips with TLC's columns.

        Zones never seen in training, nulls and absurd distances are answered by the features' fallbacks.
        """
        frame = trips.rename(columns={PICKUP[self.taxi]: "pickup_datetime"})
        return self.estimator.predict(self.features.matrix(self.features.transform_frame(frame)))

    def save(self, folder: Path) -> None:
        """Write ``predictor.json``, ``features/`` and ``estimator/``: data only, the same predictor the same bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True)
        self.features.save(folder / "features")
        self.estimator.save(folder / "estimator")
        (folder / "predictor.json").write_text(json.dumps({"schema": 1, "taxi": self.taxi}, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Raises PredictorError, FeatureError or ModelError for anything but a whole saved predictor."""
        folder = Path(folder)
        try:
            taxi = json.loads((folder / "predictor.json").read_text())["taxi"]
            estimator = folder / "estimator"
            return cls(
                PICKUP[taxi] and taxi, FeatureMap.load(folder / "features"), load(read_family(estimator), estimator)
            )
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise PredictorError(f"{folder} is not a saved predictor ({error}); register the model again") from error
