"""Pictures of a search."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from runtime.plotting import BLUE, GREY, ORANGE, new_figure
from search.trial import Metric, TrialResult, loss_of


def convergence(results: Sequence[TrialResult], metric: Metric) -> Figure:
    """The metric of each trial, and the best so far; failed trials are marked at the worst one's height."""
    figure, axes = new_figure(f"{metric.name} by trial", "trial", f"{metric.name} ({metric.unit})".removesuffix(" ()"))
    finished = [result for result in results if result.status == "ok"]
    numbers = [result.number for result in finished]
    scores = [loss_of(metric, result.known_loss) for result in finished]
    axes.plot(numbers, scores, "o", color=BLUE, label="trial")
    best = (np.maximum if metric.greater_is_better else np.minimum).accumulate(scores)
    axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
    failed = [result.number for result in results if result.status != "ok"]
    if failed:
        worst = (min if metric.greater_is_better else max)(scores)
        axes.plot(failed, [worst] * len(failed), "x", color=GREY, label="failed")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False)
    return figure


def importance(shares: Mapping[str, float], score: str, top: int = 15) -> Figure:
    """How much of the `score` of trials each hyperparameter decides, the `top` largest."""
    figure, axes = new_figure("Importance of the hyperparameters", f"share of what decides {score}", "")
    names = sorted(shares, key=lambda name: -shares[name])[:top][::-1]
    axes.barh(names, [shares[name] for name in names], color=BLUE)
    axes.xaxis.set_major_formatter("{x:.0%}")
    return figure
