"""The RMSE of groups of trips and how sure each is, from sums by day: fast for any number of trips and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z95 = 1.96  # standard errors on each side of a 95 % interval


@dataclass(frozen=True)
class GroupedError:
    """Of each group, arrays of shape (groups,): trips, RMSE in minutes, half the width of its 95 % interval.

    A group without trips has an RMSE of NaN; one whose trips are of a single day, an interval of NaN.
    """

    trips: np.ndarray
    rmse: np.ndarray
    half: np.ndarray


def grouped_error(group: np.ndarray, groups: int, day: np.ndarray, error: np.ndarray) -> GroupedError:
    """`group` 0..groups-1, `day` and `error` (minutes), all of shape (n,).

    The interval is of whole days, as trips of a day err together: the delta method on each day's sum of squares, which
    agrees with the bootstrap over days and needs no draws.
    """
    days, place = np.unique(day, return_inverse=True)
    cell = group.astype(np.int64) * len(days) + place
    shape = (groups, len(days))
    trips = np.bincount(cell, minlength=groups * len(days)).reshape(shape).astype(np.float64)
    squared = np.bincount(cell, error**2, minlength=groups * len(days)).reshape(shape)
    total, present = trips.sum(axis=1), (trips > 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mse = squared.sum(axis=1) / total
        scatter = ((squared - mse[:, None] * trips) ** 2).sum(axis=1) * present / (present - 1)
        rmse = np.sqrt(mse)
        half = np.where(present > 1, Z95 * np.sqrt(scatter) / total / (2 * rmse), np.nan)
    return GroupedError(total.astype(np.int64), rmse, half)
