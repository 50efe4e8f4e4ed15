"""Pictures of a model's errors."""

import numpy as np
from matplotlib.figure import Figure

from runtime.plotting import BLUE, GREY, ORANGE, new_figure


def residuals(y: np.ndarray, predicted: np.ndarray) -> Figure:
    """Predicted against measured minutes, as counts, with the line of a perfect model; both of shape (n,)."""
    figure, axes = new_figure("Predicted against measured", "measured (minutes)", "predicted (minutes)")
    image = axes.hexbin(y, predicted, gridsize=60, bins="log", cmap="Blues", extent=(0, 60, 0, 60), mincnt=1)
    axes.plot([0, 60], [0, 60], color=ORANGE, linewidth=1)
    figure.colorbar(image, ax=axes, label="trips")
    return figure


def error_by_hour(hour: np.ndarray, error: np.ndarray) -> Figure:
    """RMSE (minutes) by hour of the day of pickup; `hour` 0..23 and `error` in minutes, both of shape (n,)."""
    figure, axes = new_figure("RMSE by hour of pickup", "hour of the day", "RMSE (minutes)")
    trips = np.bincount(hour, minlength=24)
    squared = np.bincount(hour, weights=error**2, minlength=24)
    axes.bar(np.arange(24), np.sqrt(squared / np.maximum(trips, 1)), color=BLUE)
    axes.set_xticks(range(0, 24, 3))
    return figure


def error_by_zone(zone: np.ndarray, error: np.ndarray, top: int = 20) -> Figure:
    """RMSE (minutes) in the `top` pickup zones with the most trips, busiest first; zone ids and minutes, shape (n,)."""
    figure, axes = new_figure("RMSE by pickup zone, busiest first", "RMSE (minutes)", "zone (trips)")
    trips = np.bincount(zone)
    busiest = np.argsort(-trips, kind="stable")[: min(top, np.count_nonzero(trips))]
    squared = np.bincount(zone, weights=error**2)
    names = [f"{place} ({trips[place]:,})" for place in busiest]
    axes.barh(names, np.sqrt(squared[busiest] / trips[busiest]), color=BLUE)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    return figure


def interval_coverage(y: np.ndarray, predicted: np.ndarray, low: np.ndarray, high: np.ndarray, level: float = 0.9,
                      bins: int = 20) -> Figure:  # fmt: skip
    """Share of trips inside their interval, and its width, for `bins` of equally many trips by predicted minutes.

    y, predicted and the ends of the intervals in minutes, shape (n,).
    """
    figure, axes = new_figure(
        "Trips inside their interval, by predicted minutes", "predicted (minutes)", "share inside"
    )
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(bins, len(y)))
    middle = [float(np.median(predicted[part])) for part in parts]
    inside = [float(np.mean((low[part] <= y[part]) & (y[part] <= high[part]))) for part in parts]
    axes.axhline(level, color=GREY, linewidth=1, linestyle="--", label=f"promised: {level:.0%}")
    axes.plot(middle, inside, "o-", color=BLUE, label="inside")
    axes.set_ylim(min(0.8, *inside), 1.0)
    axes.yaxis.set_major_formatter("{x:.1%}")
    wide = axes.twinx()
    wide.plot(middle, [float(np.mean((high - low)[part])) for part in parts], "s-", color=ORANGE, markersize=4)
    wide.set_ylabel("mean width (minutes)", color=ORANGE)
    wide.set_ylim(bottom=0)
    wide.spines["top"].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    return figure
