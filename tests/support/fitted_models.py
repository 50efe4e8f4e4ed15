"""Small fitted models."""

import numpy as np
from scipy import sparse

from taxi.dataset.split import Split
from taxi.models.families import FAMILIES

SMALL = {
    "linear": {"alpha": 1.0},
    "random_forest": {"n_estimators": 7, "max_depth": 6},
    "xgboost": {"n_estimators": 40, "max_depth": 4, "learning_rate": 0.3, "reg_lambda": 1.0},
}  # fast, in every test below


def dense(rows: int, seed: int) -> Split:
    """Minutes are 3 + 4 x miles + 2 for odd zones, and noise of half a minute; some miles are missing."""
    rng = np.random.default_rng(seed)
    miles, zone = rng.gamma(2, 1.5, rows), rng.integers(1, 9, rows)
    y = 3 + 4 * miles + 2 * (zone % 2) + rng.normal(0, 0.5, rows)
    X = np.column_stack([miles, zone, rng.normal(size=rows)]).astype(np.float32)
    X[::20, 0] = np.nan
    return Split(X, y, ("miles", "zone", "noise"), frozenset({"zone"}))


def one_hot(rows: int, seed: int) -> Split:
    """The course's form: the pair of zones one-hot, and miles."""
    rng = np.random.default_rng(seed)
    pair, miles = rng.integers(0, 5, rows), rng.gamma(2, 1.5, rows)
    X = sparse.csr_matrix(np.column_stack([np.eye(5)[pair], miles]))
    return Split(X, 3 + 4 * miles + pair, (*(f"PU_DO={name}" for name in "abcde"), "trip_distance"))


FORMS = {"dense": (dense(600, 1), dense(200, 2)), "one-hot": (one_hot(600, 1), one_hot(200, 2))}


def fitted(family: str, form: str = "dense", **options):
    train, val = FORMS[form]
    return FAMILIES[family].fit(train, val, FAMILIES[family].parse(SMALL[family]), seed=42, **options)
