"""Plots of a model's errors and effects: what they show."""

from types import SimpleNamespace

import numpy as np
import pytest

from steps.pages import effects, zones
from steps.pages import model_plots as plots
from steps.pages.grouped_error import grouped_error
from taxi.evaluation.bootstrap import rmse_interval
from tests.support.fitted_models import fitted

DAYS = np.array([0, 0, 1])


def test_a_groups_error_is_its_rmse_and_its_interval_is_of_days():
    """Two trips of 3 and 4 minutes' error: sqrt((9 + 16) / 2). One day tells nothing of another."""
    found = grouped_error(np.array([1, 1, 2]), 3, DAYS, np.array([3.0, -4.0, 1.0]))
    assert found.trips.tolist() == [0, 2, 1]
    assert np.isnan(found.rmse[0])
    assert found.rmse[1:].tolist() == [np.sqrt(12.5), 1.0]
    assert np.isnan(found.half).all()


def test_the_interval_agrees_with_the_bootstrap_over_days():
    """The delta method gives within a tenth of what 4,000 draws give."""
    rng = np.random.default_rng(0)
    day = rng.integers(0, 31, 6000)
    error = rng.normal(0, 3, 6000) * (1 + 0.5 * (day % 3))
    [half] = grouped_error(np.zeros(6000, int), 1, day, error).half
    low, high = rmse_interval(day, error**2)
    assert abs(2 * half / (high - low) - 1) < 0.1


def test_error_by_hour_shows_each_hour_and_the_line_of_all_trips():
    """The legend says what each is."""
    axes = plots.error_by_hour(np.array([7, 7, 20]), DAYS, np.array([3.0, -4.0, 1.0])).axes[0]
    points = dict(zip(*axes.lines[0].get_data(), strict=True))
    assert (points[7], points[20]) == (np.sqrt(12.5), 1.0)
    assert np.isnan(points[8])
    overall = axes.lines[-1].get_ydata()
    assert set(overall) == {np.sqrt(26 / 3)}
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"RMSE, 95 % interval by days", "all trips: 2.94"}


def test_error_by_zone_names_the_busiest_zones_with_their_trips():
    """Zone 132 has three trips, 4 two, 9 one: the two busiest are drawn, in that order, by New York's names."""
    zone, error = np.array([4, 132, 132, 4, 132, 9]), np.array([1.0, 2.0, 2.0, -1.0, -2.0, 50.0])
    axes = plots.error_by_zone(zone, np.arange(6), error, lambda z: zones.name(z, False), top=2).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [2.0, 1.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["JFK Airport (3)", "Alphabet City (2)"]
    assert axes.yaxis_inverted()  # the first one on top


def test_a_made_up_citys_zones_have_numbers_and_long_names_are_cut():
    """What is New York's name of a number is no place in another city."""
    assert zones.name(132, made_up=True) == "zone 132"
    assert zones.name(27, made_up=False) == "Breezy Point/Fort Til…"
    assert zones.name(0, made_up=False) == "zone 0"


def test_error_by_distance_is_of_equally_many_trips():
    """Short trips with an error of 1 minute, long ones with 3."""
    miles = np.repeat([1.0, 5.0], 600)
    axes = plots.error_by_distance(miles, np.arange(1200) % 30, np.repeat([1.0, -3.0], 600)).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1.0] * 6 + [5.0] * 6
    assert axes.lines[0].get_ydata().tolist() == [1.0] * 6 + [3.0] * 6


def test_residuals_are_errors_and_not_the_answers():
    """The median line lies on the model's bias."""
    predicted = np.linspace(5, 30, 240)
    axes = plots.residuals(predicted, np.full(240, 2.0)).axes[0]
    assert set(axes.lines[0].get_ydata()) == {2.0}
    assert axes.get_ylabel() == "predicted − measured (minutes)"


def test_coverage_and_width_have_panels_of_their_own():
    """Of two short trips one is inside, of two long ones both; their intervals are 2 and 6 minutes wide."""
    predicted, y = np.array([30.0, 5.0, 6.0, 31.0]), np.array([29.0, 5.5, 9.0, 33.0])
    low = predicted - np.array([3.0, 1.0, 1.0, 3.0])
    share, width = plots.interval_coverage(y, predicted, low, 2 * predicted - low, bins=2).axes
    assert list(share.lines[1].get_xdata()) == [5.5, 30.5]
    assert list(share.lines[1].get_ydata()) == [0.5, 1.0]
    assert list(width.lines[0].get_ydata()) == [2.0, 6.0]
    assert share.bbox.y0 > width.bbox.y0


def test_the_flat_map_keeps_distances_and_its_axes_are_settled():
    """Four zones on a square in a plane of four dimensions; a zone that is nowhere stays so."""
    square = np.array([[0, 0], [0, 2], [1, 0], [1, 2.0]])
    places = np.full((6, 4), np.nan)
    places[1:5] = square @ np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0][:2]
    flat = zones.flat_map(places)
    assert np.isnan(flat[[0, 5]]).all()
    apart = np.linalg.norm(flat[1:5, None] - flat[1:5], axis=2)
    assert np.allclose(apart, np.linalg.norm(square[:, None] - square, axis=2))
    assert flat[1:5][np.argmax(np.abs(flat[1:5]), axis=0), [0, 1]].min() > 0
    assert np.isnan(zones.flat_map(np.full((3, 4), np.nan))).all()


def test_shap_values_and_the_mean_answer_add_up_to_the_prediction():
    """So they are of this model, of these rows, and the sentinel of missing numbers is the model's own."""
    estimator = fitted("xgboost")
    rng = np.random.default_rng(3)
    X = rng.uniform(0, 10, (50, estimator.booster.num_features())).astype(np.float32)
    X[::7, 0] = np.nan
    rest = estimator.predict(X) - effects.shap_values(estimator, X).sum(axis=1)
    assert np.ptp(rest) < 1e-3


@pytest.mark.parametrize(("rounds", "depth", "rows"), [(51, 5, 400), (389, 8, 100), (100, 8, 390)])
def test_a_large_model_is_explained_on_fewer_rows(rounds, depth, rows):
    """Four hundred took three seconds of each chain on a month of TLC's."""
    estimator = SimpleNamespace(
        booster=SimpleNamespace(num_boosted_rounds=lambda: rounds), params=SimpleNamespace(max_depth=depth)
    )
    assert effects.shap_rows(estimator) == rows


def test_partial_dependence_is_the_mean_answer_if_all_trips_had_a_value():
    """Of an estimator that answers twice its first column: a line through zero, whatever the other column is."""

    class Twice:
        def predict(self, X):
            return 2.0 * X[:, 0]

    X = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    [found] = effects.dependence(Twice(), X, ["miles", "gone"], ["miles", "gone"])
    assert found.column == "miles"
    assert found.minutes.tolist() == (2 * found.values).tolist()
    assert (found.values.min(), found.values.max()) == (1.0, 99.0)
