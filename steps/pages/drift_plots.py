"""Pictures of what changed between the months a model was judged on and newer ones."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from runtime.plotting import BLUE, GREY, ORANGE, new_figure


def moved(psi: Mapping[str, float], usual: Mapping[str, float], threshold: float) -> Figure:
    """Population stability index of each column, largest first, beside what is `usual` and what counts as moved."""
    figure, axes = new_figure("Inputs, new months against training months", "population stability index", "")
    names, places = list(psi)[::-1], np.arange(len(psi))
    axes.barh(places + 0.2, [psi[name] for name in names], 0.4, color=BLUE, label="new months")
    axes.barh(places - 0.2, [usual[name] for name in names], 0.4, color=GREY, label="months it was judged on")
    axes.axvline(threshold, color=ORANGE, linewidth=1, label="counts as moved")
    axes.set_yticks(places, names)
    axes.legend(frameon=False)
    return figure


def error_before_and_now(before: np.ndarray, now: np.ndarray, names: tuple[str, str]) -> Figure:
    """RMSE (minutes) by hour of pickup in two sets of months called `names`; both of shape (24,), NaN without trips."""
    figure, axes = new_figure("RMSE by hour of pickup", "hour of the day", "RMSE (minutes)")
    hours = np.arange(24)
    axes.bar(hours - 0.2, before, 0.4, color=GREY, label=names[0])
    axes.bar(hours + 0.2, now, 0.4, color=BLUE, label=names[1])
    axes.set_xticks(range(0, 24, 3))
    axes.margins(y=0.15)  # room for the legend above the bars
    axes.legend(frameon=False, ncols=2, loc="upper left", borderaxespad=0)
    return figure
