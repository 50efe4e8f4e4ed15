"""Random forest: scikit-learn's, grown in chunks so that a deadline can end it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from runtime.files import write_json
from search.space import Dimension
from taxi.dataset.split import Matrix
from taxi.dataset.stored_split import AnySplit
from taxi.models import skops_file
from taxi.models.family import Curves, ModelError, Params, Progress, Range, check_deadline, read_json
from taxi.models.tree_check import LEAF, walkable

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

TRUSTED = ("sklearn.tree._tree.Tree",)
TREES_BETWEEN_CLOCKS = 5  # trees grown between two looks at the clock: at most some seconds on 70,000 trips
MISSING = -1.0  # stands for NaN: below every feature's own values, so that a tree can split it off


@dataclass(frozen=True)
class ForestParams(Params):
    """Hyperparameters of scikit-learn's RandomForestRegressor."""

    family: ClassVar[str] = "random_forest"
    ranges: ClassVar = {
        "max_depth": Range(1, 64),
        "n_estimators": Range(1, 5000),
        "min_samples_split": Range(2, 10**9),
        "min_samples_leaf": Range(1, 10**9),
        "max_features": Range(0.01, 1.0),
    }

    max_depth: int = 20  # levels
    n_estimators: int = 50  # trees
    min_samples_split: int = 2  # trips
    min_samples_leaf: int = 1  # trips
    max_features: float = 1.0  # share of the columns tried at each split


class ForestEstimator:
    family = "random_forest"
    best_iteration: int | None = None
    curves: Curves = MappingProxyType({})

    def __init__(self, params: ForestParams, columns: tuple[str, ...], model: "RandomForestRegressor") -> None:
        self.params, self.columns, self.model = params, columns, model

    def predict(self, X: Matrix) -> np.ndarray:
        """Minutes, float64 of shape (n,). One thread: more would add the trees' answers in another order."""
        self.model.n_jobs = 1
        return np.asarray(self.model.predict(_filled(X)), dtype=np.float64)

    def importance(self) -> dict[str, float]:
        """Share of the squared error that splits on each column take away, largest first."""
        weights = self.model.feature_importances_
        return {self.columns[i]: float(weights[i]) for i in np.argsort(-weights, kind="stable")}

    def save(self, folder: Path) -> None:
        """Write ``model.skops`` and ``model.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        skops_file.dump(self.model, folder / "model.skops")
        model = {"family": self.family, "params": self.params.as_dict(), "columns": list(self.columns)}
        write_json(folder / "model.json", model)

    @classmethod
    def load(cls, folder: Path) -> "ForestEstimator":
        """Raises ModelError, or as a broken file makes its reader: see Family.load."""
        folder = Path(folder)
        meta = read_json(folder / "model.json")
        if meta.get("family") != cls.family:
            raise ModelError(f"{folder} holds a {meta.get('family')} model, not a {cls.family} one")
        params, columns = ForestParams.parse(meta["params"]), tuple(map(str, meta["columns"]))
        model = skops_file.load(folder / "model.skops", trusted=TRUSTED)
        if wrong := _damage(model, params, len(columns)):
            raise ModelError(f"{folder / 'model.skops'} is not a saved random forest ({wrong})")
        return cls(params, columns, model)


def _damage(model: Any, params: ForestParams, columns: int) -> str | None:
    """What of a forest, or of what else a file held, would lead scikit-learn's native code astray; None for nothing."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.tree import DecisionTreeRegressor

    if type(model) is not RandomForestRegressor or model.n_features_in_ != columns or model.n_outputs_ != 1:
        return f"no forest over {columns} columns"
    if len(model.estimators_) != params.n_estimators:
        return f"{len(model.estimators_)} trees of {params.n_estimators}"
    for number, estimator in enumerate(model.estimators_):
        if type(estimator) is not DecisionTreeRegressor or estimator.n_features_in_ != columns:
            return f"tree {number} is none over {columns} columns"
        if estimator.n_outputs_ != 1:
            return f"tree {number} has more than one answer"
        tree = estimator.tree_
        if not 1 <= tree.node_count <= tree.capacity or (tree.n_features, tree.n_outputs) != (columns, 1):
            return f"tree {number} is of another form"
        inner = tree.children_left != LEAF
        if wrong := walkable(tree.children_left, tree.children_right, params.max_depth):
            return f"tree {number}: {wrong}"
        feature = tree.feature[inner]
        if len(feature) and (feature.min() < 0 or feature.max() >= columns):
            return f"tree {number} splits on a column that is none of {columns}"
        if not (np.isfinite(tree.threshold[inner]).all() and np.isfinite(tree.value).all()):
            return f"tree {number} holds what is no number"
    return None


class Forest:
    """The family: see taxi.models.families.Family."""

    name = "random_forest"
    params = ForestParams

    def default_params(self, features: str) -> ForestParams:
        if features == "course":
            return ForestParams()
        return ForestParams(max_depth=18, n_estimators=30, min_samples_leaf=3, max_features=0.5)

    def parse(self, values: Mapping[str, Any], features: str = "full") -> ForestParams:
        return ForestParams.parse(values, self.default_params(features))

    def dimensions(self, features: str) -> tuple[Dimension, ...]:
        """`course`: the published space."""
        if features == "course":
            return (
                Dimension("max_depth", 1, 20, unit="levels"),
                Dimension("n_estimators", 10, 50, unit="trees"),
                Dimension("min_samples_split", 2, 10, unit="trips"),
                Dimension("min_samples_leaf", 1, 4, unit="trips"),
            )
        return (
            Dimension("max_depth", 10, 22, unit="levels"),
            Dimension("n_estimators", 20, 60, unit="trees"),
            Dimension("min_samples_leaf", 2, 20, "log", "trips"),
            Dimension("max_features", 0.3, 0.9, unit="share of columns"),
        )

    def fit(
        self,
        train: AnySplit,
        val: AnySplit | None,
        params: ForestParams,
        seed: int,
        threads: int = 1,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> ForestEstimator:
        """Trees on `train`, the same for any `threads` and with or without a deadline. Raises TrialTimeout."""
        from sklearn.ensemble import RandomForestRegressor

        X, total = _filled(train.X), params.n_estimators
        model = RandomForestRegressor(**params.as_dict(), random_state=seed, n_jobs=threads)
        if deadline is None and progress is None:
            model.fit(X, train.y)
        else:
            model.warm_start = True
            for trees in [*range(TREES_BETWEEN_CLOCKS, total, TREES_BETWEEN_CLOCKS), total]:
                check_deadline(deadline)
                model.n_estimators = trees
                model.fit(X, train.y)
                if progress is not None:
                    progress(trees, total)
            model.warm_start = False
        check_deadline(deadline)
        model.n_jobs = 1
        return ForestEstimator(params, train.columns, model)


def _filled(X: Matrix) -> Matrix:
    return np.where(np.isnan(X), np.float32(MISSING), X) if isinstance(X, np.ndarray) else X
