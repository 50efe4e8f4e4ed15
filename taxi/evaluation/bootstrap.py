"""Uncertainty of an RMSE, and of the difference between two models: bootstrap over the days of the test months.

Whole days are drawn, not trips: snow, a marathon or a closed bridge makes all trips of a day err together, and trips
drawn one by one would pretend to know far more. Sums in a fixed order and whole-number draws: the same bits anywhere.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

DRAWS = 4_000  # the standard error is sure to a hundredth
SEED = 20_230_301  # of the draws; never of a model


@dataclass(frozen=True)
class Gain:
    """Minutes of RMSE by which the second model is better than the first on the same trips; negative when worse.

    `low` is the one-sided lower bound at `confidence`; with at least that confidence the gain is larger.
    """

    gain: float
    low: float
    confidence: float
    days: int


def rmse_interval(day: np.ndarray, squared: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the RMSE in minutes, of days and squared errors of shape (n,)."""
    draws = _rmse(*_drawn(day, squared))
    tail = (1 - level) / 2
    return float(np.quantile(draws, tail)), float(np.quantile(draws, 1 - tail))


def paired_gain(day: np.ndarray, before: np.ndarray, after: np.ndarray, confidence: float) -> Gain:
    """From the squared errors of two models on the same trips, both of shape (n,), in the same order.

    The draws give the gain's standard error, Student's t with a degree of freedom less than days the bound, which is
    a little more careful than the draws' own percentiles. benchmarks/gate.py measures how often it is wrong.
    """
    trips, first, second = _drawn(day, before, after)
    draws = _rmse(trips, first) - _rmse(trips, second)
    days = len(np.unique(day))
    gain = float(np.sqrt(before.mean()) - np.sqrt(after.mean()))
    if days < 2:
        return Gain(gain, -np.inf, confidence, days)  # nothing to tell a good day from a good model
    error = float(draws.std()) * (days / (days - 1)) ** 0.5
    return Gain(gain, gain - float(stdtrit(days - 1, confidence)) * error, confidence, days)


def _rmse(trips: np.ndarray, squared: np.ndarray) -> np.ndarray:
    return np.sqrt(squared / trips)


def _drawn(day: np.ndarray, *squared: np.ndarray) -> list[np.ndarray]:
    """For each draw of as many days as there are, with repetition: trips, and the sum of each of `squared`."""
    days, place = np.unique(day, return_inverse=True)
    chosen = np.random.default_rng(SEED).integers(0, len(days), (DRAWS, len(days)))
    times = np.bincount((chosen + np.arange(DRAWS)[:, None] * len(days)).ravel(), minlength=DRAWS * len(days))
    times = times.reshape(DRAWS, len(days)).T
    sums = [np.bincount(place).astype(np.float64), *(np.bincount(place, values) for values in squared)]
    drawn = [np.zeros(DRAWS) for _ in sums]
    for number in range(len(days)):
        for total, by_day in zip(drawn, sums, strict=True):
            total += times[number] * by_day[number]
    return drawn
