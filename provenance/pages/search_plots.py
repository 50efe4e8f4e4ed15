"""Pictures of a search."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from runtime.plotting import BLUE, GREY, ORANGE, new_figure
from search.trial import TrialResult


def convergence(results: Sequence[TrialResult], baseline: float | None = None) -> Figure:
    """Validation RMSE (minutes) of each trial, and the best so far; failed trials are marked on the axis."""
    figure, axes = new_figure("Validation RMSE by trial", "trial", "val_rmse (minutes)")
    finished = [result for result in results if result.status == "ok"]
    numbers = [result.number for result in finished]
    scores = [result.score for result in finished]
    axes.plot(numbers, scores, "o", color=BLUE, label="trial")
    axes.step(numbers, np.minimum.accumulate(scores), where="post", color=ORANGE, label="best so far")
    failed = [result.number for result in results if result.status != "ok"]
    if failed:
        axes.plot(failed, [max(scores)] * len(failed), "x", color=GREY, label="failed")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False)
    return figure


def importance(shares: dict[str, float], what: str, top: int = 15) -> Figure:
    """Share of each of `what` (columns, hyperparameters) in what is explained, the `top` largest."""
    figure, axes = new_figure(f"Importance of {what}", "share", "")
    names = sorted(shares, key=lambda name: -shares[name])[:top][::-1]
    axes.barh(names, [shares[name] for name in names], color=BLUE)
    return figure
