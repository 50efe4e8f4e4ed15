"""Which hyperparameters decide how good a trial is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search.trial import TrialResult

TREES = 100  # twice as many, shuffled twice as often, move the share that moves most by 0.03
SHUFFLES = 5  # of each column
LEAST_TRIALS = 8  # below, there is nothing to learn from


def hyperparameter_importance(results: Sequence[TrialResult]) -> dict[str, float]:
    """Share of each hyperparameter in the loss, largest first, from the finished trials; empty for too few of them.

    Randomised trees learn the loss from the parameters; a share is how much worse they get with that column shuffled.
    A search tries its favourites more often than the rest: with twenty trials this is a hint, no proof.
    """
    finished = [result for result in results if result.status == "ok"]
    if len(finished) < LEAST_TRIALS:
        return {}
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.inspection import permutation_importance

    names = sorted({name for result in finished for name in result.params})
    X = np.column_stack([_numbers([result.params.get(name) for result in finished]) for name in names])
    y = np.array([result.known_loss for result in finished])
    trees = ExtraTreesRegressor(TREES, random_state=0, n_jobs=1).fit(X, y)
    worse = permutation_importance(trees, X, y, n_repeats=SHUFFLES, random_state=0, n_jobs=1).importances_mean
    worse = np.maximum(worse, 0.0)
    shares = worse / (worse.sum() or 1.0)
    return {names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable")}


def _numbers(values: list[Any]) -> npt.NDArray[np.float64]:
    """Numbers as they are, anything else as its place among the values in alphabetical order; shape (n_values,)."""
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, dtype=np.float64)
    places = {value: place for place, value in enumerate(sorted({str(value) for value in values}))}
    return np.array([places[str(value)] for value in values], dtype=np.float64)
