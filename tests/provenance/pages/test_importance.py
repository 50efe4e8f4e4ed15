"""Which hyperparameters decide."""

import numpy as np

from provenance.pages.importance import hyperparameter_importance
from search.trial import TrialResult, failed


def trials(count, score):
    rng = np.random.default_rng(0)
    for number in range(count):
        params = {"depth": int(rng.integers(1, 20)), "rate": float(rng.random()), "kind": str(rng.choice(["a", "b"]))}
        yield TrialResult(number, params, "ok", score(params))


def test_what_the_score_is_made_of_has_the_largest_share():
    """Depth decides nine times as much of the variance as kind, and rate nothing."""
    shares = hyperparameter_importance(
        list(trials(60, lambda p: 3 * (p["depth"] - 10) ** 2 / 100 + 0.3 * (p["kind"] == "b")))
    )
    assert list(shares)[:2] == ["depth", "kind"]
    assert shares["depth"] > 0.7 and shares["rate"] < 0.1
    assert abs(sum(shares.values()) - 1) < 1e-9


def test_failed_trials_say_nothing_and_too_few_give_no_shares():
    """Seven finished ones are too few."""
    few = list(trials(7, lambda p: p["rate"]))
    assert hyperparameter_importance([*few, *(failed(number, {"depth": 1}, "x") for number in range(7, 20))]) == {}


def test_equal_scores_give_no_share_to_anything():
    """And no division by zero."""
    assert set(hyperparameter_importance(list(trials(10, lambda p: 1.0))).values()) == {0.0}
