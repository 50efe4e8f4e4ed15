"""Gradient boosting: XGBoost's histogram trees on minutes, zones as categories, stopped on validation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from runtime.files import write_json
from search.space import Dimension
from taxi.dataset.split import Matrix
from taxi.dataset.stored_split import AnySplit
from taxi.models import one_hot, xgboost_file
from taxi.models.family import Curves, ModelError, Params, Progress, Range, check_deadline, read_json
from taxi.models.quantile_bins import MISSING, filled, quantile_matrices

if TYPE_CHECKING:
    import xgboost as xgb


@dataclass(frozen=True)
class BoostingParams(Params):
    """Hyperparameters of XGBoost's regression trees, with the defaults of the feature sets `full` and `pickup`."""

    family: ClassVar[str] = "xgboost"
    ranges: ClassVar = {
        "n_estimators": Range(1, 20_000),
        "early_stopping_rounds": Range(0, 20_000),
        "learning_rate": Range(1e-4, 1.0),
        "max_depth": Range(1, 20),
        "min_child_weight": Range(0.0, 1e9),
        "subsample": Range(0.05, 1.0),
        "colsample_bytree": Range(0.05, 1.0),
        "reg_lambda": Range(0.0, 1e9),
        "reg_alpha": Range(0.0, 1e9),
        "gamma": Range(0.0, 1e9),
        "max_bin": Range(2, 4096),
        "max_cat_to_onehot": Range(1, 10_000),
    }

    n_estimators: int = 1000  # boosting rounds, at most
    early_stopping_rounds: int = 10  # rounds without a better validation RMSE; 0 = never stop
    learning_rate: float = 0.2  # share of each tree's answer that is added
    max_depth: int = 8  # levels
    min_child_weight: float = 10.0  # trips in a leaf, at least
    subsample: float = 0.8  # share of trips for each tree
    colsample_bytree: float = 0.9  # share of columns for each tree
    reg_lambda: float = 100.0  # penalty on squared leaf answers
    reg_alpha: float = 5.0  # penalty on absolute leaf answers
    gamma: float = 0.0  # squared minutes that a split must take away
    max_bin: int = 128  # bins a column
    max_cat_to_onehot: int = 4  # categories up to which a split takes one against all


class BoostingEstimator:
    """A fitted booster. `best_iteration`: the round, from 0, of the lowest validation RMSE, or the last."""

    family = "xgboost"

    def __init__(
        self,
        params: BoostingParams,
        columns: tuple[str, ...],
        booster: "xgb.Booster",
        best_iteration: int,
        missing: float = MISSING,
        curves: Curves = MappingProxyType({}),
    ) -> None:
        self.params, self.columns, self.booster, self.best_iteration = params, columns, booster, best_iteration
        self.missing = missing  # what stands for NaN
        self.curves = curves

    def predict(self, X: Matrix) -> np.ndarray:
        """Minutes, float64 of shape (n,). Raises ModelError for X of another width."""
        if isinstance(X, np.ndarray):
            X = filled(X, self.booster.feature_types or (), self.missing)
        else:
            X = one_hot.compact(X, self.columns)
        if X.shape[1] != self.booster.num_features():  # which XGBoost, told not to look at names, does not ask
            raise ModelError(f"{X.shape[1]} columns for a model of {self.booster.num_features()}")
        return np.asarray(self.booster.inplace_predict(X, validate_features=False), dtype=np.float64)

    def importance(self) -> dict[str, float]:
        """Share of the squared error that splits on each column take away, largest first."""
        gain: dict[str, Any] = self.booster.get_score(importance_type="total_gain")  # numbers; lists for other boosters
        columns = self.columns if self.booster.num_features() == len(self.columns) else one_hot.groups(self.columns)[0]
        by_column = {name: float(gain.get(f"f{i}", 0.0)) for i, name in enumerate(columns)}
        total = sum(by_column.values()) or 1.0
        return {name: by_column[name] / total for name in sorted(by_column, key=lambda name: -by_column[name])}

    def save(self, folder: Path) -> None:
        """Write ``model.ubj``, XGBoost's own format, and ``model.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.ubj").write_bytes(self.booster.save_raw("ubj"))
        params, best = self.params.as_dict(), self.best_iteration
        model = {"family": self.family, "params": params, "columns": list(self.columns), "best_iteration": best}
        model["missing"] = float(self.missing)
        write_json(folder / "model.json", model)

    @classmethod
    def load(cls, folder: Path) -> "BoostingEstimator":
        """What `save` wrote, checked before XGBoost reads it.

        Raises ModelError, or as a broken file makes its reader: see Family.load.
        """
        import xgboost as xgb

        folder = Path(folder)
        meta = read_json(folder / "model.json")
        if meta.get("family") != cls.family:
            raise ModelError(f"{folder} holds a {meta.get('family')} model, not a {cls.family} one")
        params, columns = BoostingParams.parse(meta["params"]), tuple(map(str, meta["columns"]))
        best, missing = int(meta["best_iteration"]), float(meta["missing"])
        booster = xgb.Booster(params={"nthread": 1})
        try:
            raw = (folder / "model.ubj").read_bytes()
            xgboost_file.check(raw, len(one_hot.groups(columns)[0]), params.max_depth, best + 1)
            booster.load_model(bytearray(raw))
        except (OSError, ModelError, xgb.core.XGBoostError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"{folder / 'model.ubj'} is not a saved XGBoost model ({reason})") from None
        booster.set_param({"nthread": 1})
        return cls(params, columns, booster, best, missing)


class Boosting:
    """The family: see taxi.models.families.Family."""

    name = "xgboost"
    params = BoostingParams

    def default_params(self, features: str) -> BoostingParams:
        if features == "course":  # two columns, so each tree needs both
            return BoostingParams(colsample_bytree=1.0, reg_lambda=20.0)
        return BoostingParams()

    def parse(self, values: Mapping[str, Any], features: str = "full") -> BoostingParams:
        return BoostingParams.parse(values, self.default_params(features))

    def dimensions(self, features: str) -> tuple[Dimension, ...]:
        """Rates from 0.15: at 0.1 the best trial gains 0.02 minutes, and a trial takes three times as long."""
        columns = Dimension("colsample_bytree", 0.6, 1.0, unit="share of columns")
        return (
            Dimension("max_depth", 5, 9, unit="levels"),
            Dimension("learning_rate", 0.15, 0.4, "log", "share"),
            Dimension("min_child_weight", 3.0, 50.0, "log", "trips"),
            Dimension("subsample", 0.6, 1.0, unit="share of trips"),
            *([] if features == "course" else [columns]),
            Dimension("reg_lambda", 20.0, 300.0, "log", "penalty"),
        )

    def fit(
        self,
        train: AnySplit,
        val: AnySplit | None,
        params: BoostingParams,
        seed: int,
        threads: int = 1,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> BoostingEstimator:
        """Boost on `train`; with `val`, up to the round that is best there. Raises TrialTimeout.

        With `val` the estimator has the RMSE on both by round. On `train` it is cheap: boosting has those predictions.
        """
        import xgboost as xgb

        rounds, patience = params.n_estimators, params.early_stopping_rounds
        stops = val is not None and patience > 0
        callbacks: list[xgb.callback.TrainingCallback] = []
        if stops:
            callbacks.append(xgb.callback.EarlyStopping(rounds=patience, metric_name="rmse", data_name="val"))
        if deadline is not None or progress is not None:
            callbacks.append(_each_round(deadline, progress, rounds))
        train_matrix, val_matrix = quantile_matrices(train, val, params.max_bin, threads, deadline)
        errors: dict[str, dict[str, list[float]]] = {}
        booster = xgb.train(
            _native(params, seed, threads),
            train_matrix,
            num_boost_round=rounds,
            evals=[] if val is None or val_matrix is None else [(train_matrix, "train"), (val_matrix, "val")],
            evals_result=errors,
            callbacks=callbacks,
            verbose_eval=False,
        )
        best = booster.best_iteration if stops else booster.num_boosted_rounds() - 1
        booster = booster[: best + 1]
        booster.set_param({"nthread": 1})
        booster.set_attr(best_iteration=None, best_score=None)
        curves = {f"{name}_rmse": values["rmse"] for name, values in errors.items()}
        return BoostingEstimator(replace(params, n_estimators=best + 1), train.columns, booster, best, curves=curves)


def _native(params: BoostingParams, seed: int, threads: int) -> dict[str, Any]:
    """`params` as xgb.train takes them."""
    values = params.as_dict()
    for ours in ("n_estimators", "early_stopping_rounds"):
        values.pop(ours)
    return {**values, "objective": "reg:squarederror", "tree_method": "hist", "seed": seed, "nthread": threads}


def _each_round(deadline: float | None, progress: Progress | None, rounds: int) -> "xgb.callback.TrainingCallback":
    import xgboost as xgb

    class EachRound(xgb.callback.TrainingCallback):
        def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: dict[str, Any]) -> bool:
            check_deadline(deadline)
            if progress is not None:
                progress(epoch + 1, rounds)
            return False

    return EachRound()
