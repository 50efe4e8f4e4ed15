"""Simulated errors of a champion and a candidate on the same test month, of which the truth is known."""

import numpy as np

TRIPS, DAYS = 10_000, 31
COMMON, OWN = 4.0, 1.0  # minutes of error that no model explains, and that a model makes itself
CANDIDATES = {"worse": 1.3, "a little worse": 1.1, "equal": 1.0, "better": 0.6}  # minutes of the candidate's own error


def month(seed: int, own: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days, squared errors of the champion and of a candidate whose own error is `own` minutes; shape (TRIPS,) each.

    On a bad day both err more, the model with the larger own error even more so.
    """
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, DAYS, TRIPS))
    bad = rng.lognormal(0, 0.3, DAYS)[day]
    common = COMMON * bad * rng.standard_t(6, TRIPS) / 1.5**0.5
    champion, candidate = (common + size * bad * rng.normal(0, 1, TRIPS) for size in (OWN, own))
    return day, champion**2, candidate**2


def lucky_month(seed: int, own: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first of the months after `seed` in which the candidate's RMSE is lower all the same."""
    for number in range(1000):
        day, champion, candidate = month(seed * 1_000_003 + number, own)
        if candidate.mean() < champion.mean():
            return day, champion, candidate
    raise AssertionError("a candidate this bad is never lucky")
