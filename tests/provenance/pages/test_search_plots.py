"""Plots of a search: what they show, drawn without a display, the same bytes each time."""

from provenance.pages import search_plots
from provenance.pipeline.declaration import Metric
from runtime import plotting
from search.trial import TrialResult, failed

RMSE = Metric("val_rmse", "min")
ACCURACY = Metric("accuracy", greater_is_better=True)
RESULTS = [
    TrialResult(0, {"alpha": 1.0}, "ok", loss=5.0),
    failed(1, {"alpha": 2.0}, "over trial_timeout=1 s"),
    TrialResult(2, {"alpha": 3.0}, "ok", loss=4.0),
    TrialResult(3, {"alpha": 4.0}, "ok", loss=4.5),
]


def test_convergence_shows_each_trial_and_the_best_so_far():
    """The step line only goes down, and a failed trial is no point of it."""
    axes = search_plots.convergence(RESULTS, RMSE).axes[0]
    trials, best, crosses = axes.lines
    assert list(trials.get_xdata()) == [0, 2, 3]
    assert list(best.get_ydata()) == [5.0, 4.0, 4.0]
    assert list(crosses.get_xdata()) == [1]
    assert list(crosses.get_ydata()) == [5.0]
    assert axes.get_ylabel() == "val_rmse (min)"


def test_convergence_of_a_score_goes_up_and_marks_failures_at_the_bottom():
    """A search for the greatest accuracy makes its negative small; the picture shows the accuracy."""
    results = [TrialResult(0, {}, "ok", loss=-0.5), TrialResult(1, {}, "ok", loss=-0.25), failed(2, {}, "broken")]
    axes = search_plots.convergence(results, ACCURACY).axes[0]
    trials, best, crosses = axes.lines
    assert list(trials.get_ydata()) == [0.5, 0.25]
    assert list(best.get_ydata()) == [0.5, 0.5]
    assert list(crosses.get_ydata()) == [0.25]
    assert axes.get_ylabel() == "accuracy"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    """A time or a version in the file would make two equal runs differ."""
    for name in ("a.png", "b.png"):
        plotting.save(search_plots.convergence(RESULTS, RMSE), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
