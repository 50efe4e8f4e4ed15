"""Curves in few points."""

from itertools import pairwise

import pytest

from search.curves import thinned


def test_a_short_curve_is_whole():
    """Rounds count from 1: MLflow would take a point of step 0 for a metric of the model."""
    assert thinned([5.0, 4.0, 3.0], best=1, most=25) == [(1, 5.0), (2, 4.0), (3, 3.0)]


def test_a_long_curve_has_its_first_its_best_and_its_last_round_and_is_evenly_spread():
    """Nine rounds in five points are every second one; the best is the fourth, so the third or fifth makes room."""
    values = [float(number) for number in range(1, 10)]
    assert thinned(values, best=4, most=5) == [(number, float(number)) for number in (1, 3, 5, 7, 9)]
    assert thinned(values, best=3, most=5) == [(number, float(number)) for number in (1, 4, 5, 7, 9)]


@pytest.mark.parametrize("rounds", [1, 2, 3, 24, 25, 26, 27, 100, 20_000])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.9, 1.0])
def test_however_long_the_bound_holds(rounds, where):
    """No gap is more than twice the even one."""
    best = round((rounds - 1) * where)
    points = [number for number, _ in thinned([0.0] * rounds, best, most=25)]
    assert len(points) == min(rounds, 25)
    assert {1, best + 1, rounds} <= set(points)
    gaps = [after - before for before, after in pairwise(points)]
    assert max(gaps, default=1) <= 2 * max(1, rounds / 24) + 1
