"""Plots of a model's errors: what they show."""

import numpy as np

from steps.pages import model_plots as plots


def test_error_by_hour_is_the_rmse_of_each_hour():
    """Two trips of 3 and 4 minutes' error at one hour: sqrt((9 + 16) / 2)."""
    axes = plots.error_by_hour(np.array([7, 7, 20]), np.array([3.0, -4.0, 1.0])).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[7] == np.sqrt(12.5)
    assert heights[20] == 1.0
    assert sum(heights) == heights[7] + heights[20]


def test_error_by_zone_is_the_rmse_of_the_busiest_zones():
    """Zone 7 has three trips, 4 two, 9 one: the two busiest are drawn, in that order."""
    zone, error = np.array([4, 7, 7, 4, 7, 9]), np.array([1.0, 2.0, 2.0, -1.0, -2.0, 50.0])
    axes = plots.error_by_zone(zone, error, top=2).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 1.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["7 (3)", "4 (2)"]
    assert axes.yaxis_inverted()  # the first one on top
    assert len(plots.error_by_zone(zone, error).axes[0].patches) == 3


def test_interval_coverage_is_the_share_inside_by_predicted_minutes():
    """Of two short trips one is inside, of two long ones both; their intervals are 2 and 6 minutes wide."""
    predicted, y = np.array([30.0, 5.0, 6.0, 31.0]), np.array([29.0, 5.5, 9.0, 33.0])
    low = predicted - np.array([3.0, 1.0, 1.0, 3.0])
    share, width = plots.interval_coverage(y, predicted, low, 2 * predicted - low, bins=2).axes
    assert list(share.lines[1].get_xdata()) == [5.5, 30.5]
    assert list(share.lines[1].get_ydata()) == [0.5, 1.0]
    assert list(width.lines[0].get_ydata()) == [2.0, 6.0]
