"""The model families by name: parameters, search space, fit, predict, save, load."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from search.space import Dimension, Space
from taxi.dataset.split import Matrix
from taxi.dataset.stored_split import AnySplit
from taxi.models.boosting import Boosting, BoostingEstimator
from taxi.models.family import Curves, ModelError, Params, ParamsError, Progress, TrialTimeout, read_json
from taxi.models.forest import Forest, ForestEstimator
from taxi.models.linear import Linear, LinearEstimator

__all__ = ["FAMILIES", "Estimator", "Family", "ModelError", "ParamsError", "TrialTimeout", "load", "read_family"]


class Estimator(Protocol):
    """A fitted model. `params` are those it was really fitted with: boosting rounds are the best ones found.

    `curves` are errors by round (minutes) as it was fitted; none where there are no rounds, and none once it is loaded.
    """

    family: str
    columns: tuple[str, ...]

    @property
    def params(self) -> Params: ...

    @property
    def best_iteration(self) -> int | None: ...

    @property
    def curves(self) -> Curves: ...

    def predict(self, X: Matrix) -> np.ndarray:
        """Minutes, float64 of shape (n,), for X as in Split.X."""

    def importance(self) -> dict[str, float]:
        """Share of each column, largest first."""

    def save(self, folder: Path) -> None:
        """Write into `folder`: no pickle, the same model gives the same bytes."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote. Raises ModelError, or as a broken file makes its reader."""


P = TypeVar("P", bound=Params)


class Kind(Protocol[P]):
    """What the families do each in their own way; see Family for what each function is asked."""

    def default_params(self, features: str) -> P: ...

    def parse(self, values: Mapping[str, Any], features: str = "full") -> P: ...

    def dimensions(self, features: str) -> tuple[Dimension, ...]: ...

    def fit(
        self,
        train: AnySplit,
        val: AnySplit | None,
        params: P,
        seed: int,
        threads: int = 1,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> Estimator: ...


@dataclass(frozen=True)
class Family:
    """One kind of model, looked up by name: that its Params are those of its `kind` is known by `parse` alone.

    A family that `streams` reads its splits part by part; the others need them in memory.
    """

    name: str
    kind: Kind[Any]
    estimator: type[Estimator]
    streams: bool = False

    def default_params(self, features: str = "full") -> Params:
        """The defaults for a feature set."""
        return self.kind.default_params(features)

    def parse(self, values: Mapping[str, Any], features: str = "full") -> Params:
        """Params with `values` over the defaults for `features`. Raises ParamsError."""
        return self.kind.parse(values, features)

    def space(self, features: str = "full") -> Space:
        """The search space as hyperopt takes it: parameter name -> expression."""
        return {dimension.name: dimension.expression() for dimension in self.kind.dimensions(features)}

    def space_rows(self, features: str = "full") -> tuple[Dimension, ...]:
        """The same space as rows (name, low, high, scale, unit)."""
        return self.kind.dimensions(features)

    def fit(
        self,
        train: AnySplit,
        val: AnySplit | None,
        params: Params,
        seed: int,
        threads: int = 1,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> Estimator:
        """A fitted estimator; `deadline` is a reading of time.monotonic(), past it TrialTimeout is raised.

        `progress` is told rounds or trees done and at most to do; boosting may stop long before.
        """
        return self.kind.fit(train, val, params, seed, threads, deadline, progress)

    def load(self, folder: Path) -> Estimator:
        """Raises ModelError when `folder` does not hold a model of this family."""
        try:
            return self.estimator.load(folder)
        except ModelError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ModelError(f"{folder} does not hold a whole {self.name} model ({error!r:.200})") from error


FAMILIES: dict[str, Family] = {
    "linear": Family("linear", Linear(), LinearEstimator),
    "random_forest": Family("random_forest", Forest(), ForestEstimator),
    "xgboost": Family("xgboost", Boosting(), BoostingEstimator, streams=True),
}


def load(family: str, folder: Path) -> Estimator:
    """The saved estimator of `family`. Raises ModelError."""
    return FAMILIES[family].load(Path(folder))


def read_family(folder: Path) -> str:
    """The family of a saved model. Raises ModelError."""
    model = read_json(Path(folder) / "model.json")
    name = model.get("family") if isinstance(model, dict) else None
    if name not in FAMILIES:
        raise ModelError(f"{folder} holds a model of family {name!r}, not one of {', '.join(FAMILIES)}")
    return name
