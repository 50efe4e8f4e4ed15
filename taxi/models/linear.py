"""Linear regression: ordinary least squares, or ridge when `alpha` is above 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from runtime.files import write_json
from search.space import Dimension
from taxi.dataset.split import Matrix
from taxi.dataset.stored_split import AnySplit
from taxi.models import skops_file
from taxi.models.family import Curves, ModelError, Params, Progress, Range, check_deadline, read_json

if TYPE_CHECKING:
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class LinearParams(Params):
    """`alpha`: penalty on squared weights; 0 is least squares without one."""

    family: ClassVar[str] = "linear"
    ranges: ClassVar = {"alpha": Range(0.0, 1e9)}

    alpha: float = 0.0  # penalty on the squared coefficients of standardised columns; 0 = none


class LinearEstimator:
    """`regression` on sparse X as it is, or on the columns `kept` of dense X, standardised by `scaler`."""

    family = "linear"
    best_iteration: int | None = None
    curves: Curves = MappingProxyType({})

    def __init__(
        self,
        params: LinearParams,
        columns: tuple[str, ...],
        kept: list[int],
        scaler: "StandardScaler | None",
        regression: "LinearRegression | Ridge",
    ) -> None:
        self.params, self.columns, self.kept, self.scaler, self.regression = params, columns, kept, scaler, regression

    def predict(self, X: Matrix) -> np.ndarray:
        """Minutes, float64 of shape (n,). A row's answer never depends on the rows beside it."""
        if self.scaler is None:
            return np.asarray(self.regression.predict(X), dtype=np.float64)
        # Column after column, not one BLAS product, whose order of summing changes with the number of rows.
        minutes = np.full(X.shape[0], float(self.regression.intercept_))
        for i, column in enumerate(self.kept):
            values = (np.asarray(X[:, column], dtype=np.float64) - self.scaler.mean_[i]) / self.scaler.scale_[i]
            minutes += np.where(np.isnan(values), 0.0, values) * self.regression.coef_[i]
        return minutes

    def importance(self) -> dict[str, float]:
        """Absolute coefficient (minutes per standard deviation on dense X), largest first, as shares of 1."""
        names = [self.columns[i] for i in self.kept]
        weights = np.abs(self.regression.coef_)
        total = float(weights.sum()) or 1.0
        order = np.argsort(-weights, kind="stable")
        return {names[i]: float(weights[i]) / total for i in order}

    def save(self, folder: Path) -> None:
        """Write ``model.skops`` and ``model.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        skops_file.dump([self.scaler, self.regression], folder / "model.skops")
        params, columns = self.params.as_dict(), list(self.columns)
        model = {"family": self.family, "params": params, "columns": columns, "kept": self.kept}
        write_json(folder / "model.json", model)

    @classmethod
    def load(cls, folder: Path) -> "LinearEstimator":
        """Raises ModelError, or as a broken file makes its reader: see Family.load."""
        folder = Path(folder)
        meta = read_json(folder / "model.json")
        if meta.get("family") != cls.family:
            raise ModelError(f"{folder} holds a {meta.get('family')} model, not a {cls.family} one")
        params, columns = LinearParams.parse(meta["params"]), tuple(map(str, meta["columns"]))
        scaler, regression = skops_file.load(folder / "model.skops", trusted=())
        if wrong := _damage(meta["kept"], scaler, regression, len(columns)):
            raise ModelError(f"{folder / 'model.skops'} is not a saved linear regression ({wrong})")
        return cls(params, columns, meta["kept"], scaler, regression)


def _damage(kept: Any, scaler: Any, regression: Any, columns: int) -> str | None:
    """What of a regression, or of what else a file held, does not fit together; None when all does."""
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    if not isinstance(kept, list) or not all(type(column) is int and 0 <= column < columns for column in kept):
        return f"its columns are none of {columns}"
    if type(regression) not in (LinearRegression, Ridge) or type(scaler) not in (StandardScaler, type(None)):
        return "it is made of something else"
    numbers = [regression.coef_] + ([] if scaler is None else [scaler.mean_, scaler.scale_])
    if not all(np.shape(array) == (len(kept),) and np.isfinite(array).all() for array in numbers):
        return f"it has not one finite weight for each of {len(kept)} columns"
    return None if np.ndim(regression.intercept_) == 0 and np.isfinite(regression.intercept_) else "no intercept"


class Linear:
    """The family: see taxi.models.families.Family."""

    name = "linear"
    params = LinearParams

    def default_params(self, features: str) -> LinearParams:
        return LinearParams(alpha=0.0 if features == "course" else 1.0)

    def parse(self, values: Mapping[str, Any], features: str = "full") -> LinearParams:
        return LinearParams.parse(values, self.default_params(features))

    def dimensions(self, features: str) -> tuple[Dimension, ...]:
        return (Dimension("alpha", 1e-3, 1e3, "log", "penalty"),)

    def fit(
        self,
        train: AnySplit,
        val: AnySplit | None,
        params: LinearParams,
        seed: int,
        threads: int = 1,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> LinearEstimator:
        """Least squares on `train`; `val` and `seed` have no part in it. Codes of zones have no order: left out."""
        from sklearn.linear_model import LinearRegression, Ridge
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        check_deadline(deadline)
        X, scaler, kept = train.X, None, list(range(len(train.columns)))
        regression = Ridge(alpha=params.alpha) if params.alpha > 0 else LinearRegression()
        with threadpool_limits(threads):
            if not sparse.issparse(X):
                kept = [i for i in kept if train.columns[i] not in train.categorical]
                scaler = StandardScaler()
                X = scaler.fit_transform(X[:, kept].astype(np.float64))
                X[np.isnan(X)] = 0.0  # missing = the training mean
            regression.fit(X, train.y)
        check_deadline(deadline)
        return LinearEstimator(params, train.columns, kept, scaler, regression)
