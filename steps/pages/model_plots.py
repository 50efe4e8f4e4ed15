"""Plots of a model's errors and of the causes of its answers. Each has one pair of axes, or panels apart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runtime.plotting import BLUE, GREY, ORANGE, new_figure
from steps.pages.effects import Dependence
from steps.pages.grouped_error import GroupedError, grouped_error

MOST_POINTS = 50_000  # of a cloud; more change nothing that an eye sees
MINUTES = (0, 60)
BANDS = 12  # of equally many trips
ERROR = "predicted − measured (minutes)"
RMSE = "RMSE (minutes)"
MAP_NOTE = (
    "pickup_map_a .. d and dropoff_map_a .. d: where the zone lies on a map learned from metered distances, in miles;\n"
    "its axes have no directions of the compass. map_distance: the distance on it. detour: driven beyond that."
)


def actual_against_predicted(y: np.ndarray, predicted: np.ndarray) -> Figure:
    """Measured against predicted minutes of shape (n,), as counts, with the line of a perfect model."""
    figure, axes = new_figure("Measured against predicted", "predicted (minutes)", "measured (minutes)")
    some = _some(len(y))
    image = axes.hexbin(predicted[some], y[some], gridsize=60, bins="log", cmap="Blues", extent=MINUTES * 2, mincnt=1)
    axes.plot(MINUTES, MINUTES, color=ORANGE, linewidth=1, label="a perfect model")
    axes.legend(frameon=False, loc="upper left")
    figure.colorbar(image, ax=axes, label="trips")
    return figure


def residuals(predicted: np.ndarray, error: np.ndarray) -> Figure:
    """Predicted minus measured minutes by predicted minutes, shape (n,), with the median and the middle 90 %."""
    figure, axes = new_figure("Residuals by predicted minutes", "predicted (minutes)", ERROR)
    some = _some(len(error))
    widest = float(np.quantile(np.abs(error), 0.995))
    extent = (*MINUTES, -widest, widest)
    image = axes.hexbin(predicted[some], error[some], gridsize=60, bins="log", cmap="Blues", extent=extent, mincnt=1)
    bands = np.array_split(np.argsort(predicted, kind="stable"), min(BANDS, len(error)))
    middle = [float(np.median(predicted[band])) for band in bands]
    for share, style, label in ((0.5, "-", "median"), (0.05, ":", "middle 90 %"), (0.95, ":", None)):
        axes.plot(middle, [np.quantile(error[band], share) for band in bands], style, color=ORANGE, label=label)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlim=MINUTES, ylim=(-widest, widest))
    _legend_above(axes, 2)
    figure.colorbar(image, ax=axes, label="trips")
    return figure


def error_by_hour(hour: np.ndarray, day: np.ndarray, error: np.ndarray) -> Figure:
    """RMSE by hour of the day of pickup; `hour` 0..23, `day` and `error` in minutes, all of shape (n,)."""
    figure, axes = new_figure("Error by hour of pickup", "hour of the day", RMSE)
    _points(axes, np.arange(24), grouped_error(hour, 24, day, error))
    _overall(axes.axhline, error)
    axes.set_xticks(range(0, 24, 3))
    _legend_above(axes, 2)
    return figure


def error_by_distance(miles: np.ndarray, day: np.ndarray, error: np.ndarray) -> Figure:
    """RMSE by metered distance, in groups of equally many trips; miles, days, minutes of shape (n,)."""
    figure, axes = new_figure("Error by metered distance", "trip_distance (miles), median of each twelfth", RMSE)
    known = ~np.isnan(miles)
    miles, day, within = miles[known], day[known], error[known]
    group = np.empty(len(miles), np.int64)
    order = np.argsort(miles, kind="stable")
    bands = np.array_split(order, min(BANDS, len(miles)))
    for number, band in enumerate(bands):
        group[band] = number
    middle = np.array([float(np.median(miles[band])) for band in bands])
    _points(axes, middle, grouped_error(group, len(bands), day, within))
    _overall(axes.axhline, error)
    axes.set_xlim(left=0)
    _legend_above(axes, 2)
    return figure


def error_by_zone(
    zone: np.ndarray, day: np.ndarray, error: np.ndarray, name: Callable[[int], str], top: int = 15
) -> Figure:
    """RMSE in the `top` pickup zones with the most trips, busiest first; zone ids, days, minutes of shape (n,)."""
    figure, axes = new_figure("Error by pickup zone, busiest first", RMSE, "")
    groups = int(zone.max()) + 1
    found = grouped_error(zone, groups, day, error)
    busiest = np.argsort(-found.trips, kind="stable")[: min(top, np.count_nonzero(found.trips))]
    some = GroupedError(found.trips[busiest], found.rmse[busiest], found.half[busiest])
    _points(axes, np.arange(len(busiest)), some, upright=False)
    _overall(axes.axvline, error)
    axes.set_yticks(range(len(busiest)), [f"{name(int(z))} ({found.trips[z]:,})" for z in busiest], fontsize=8)
    axes.invert_yaxis()
    _legend_above(axes, 2)
    return figure


def error_map(
    flat: np.ndarray, zone: np.ndarray, day: np.ndarray, error: np.ndarray, name: Callable[[int], str], fewest: int = 30
) -> Figure:
    """RMSE of the pickup zones with `fewest` trips or more, where they lie on the map `flat`, miles (zones, 2).

    `zone`, `day` and `error` (minutes) of shape (n,); the larger a zone's dot, the more trips; the worst are named.
    """
    figure, axes = new_figure("Error on the map of pickup zones", "miles", "miles")
    figure.set_size_inches(6.4, 5.4)
    found = grouped_error(zone, len(flat), day, error)
    placed = ~np.isnan(flat[:, 0])
    axes.scatter(flat[placed, 0], flat[placed, 1], s=4, color="#d5d5d5")
    shown = np.flatnonzero(placed & (found.trips >= fewest))
    size = 15 + 250 * found.trips[shown] / max(1, found.trips.max())
    x, y = flat[shown].T
    image = axes.scatter(x, y, s=size, c=found.rmse[shown], cmap="YlOrRd", edgecolors=GREY, linewidths=0.5)
    for place in shown[np.argsort(-found.rmse[shown], kind="stable")][:5]:
        axes.annotate(name(int(place)), flat[place], fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set_aspect("equal", adjustable="datalim")
    figure.colorbar(image, ax=axes, label=RMSE, shrink=0.8)
    _note(figure, "The map is learned from metered distances: near is near by taxi. Its axes have no directions.")
    return figure


def interval_coverage(
    y: np.ndarray, predicted: np.ndarray, low: np.ndarray, high: np.ndarray, level: float = 0.9, bins: int = 20
) -> Figure:
    """Share of trips inside their interval, and below it its width, for `bins` of equally many trips by prediction."""
    figure, inside_axes = new_figure("Trips inside their interval, by predicted minutes", "", "share inside")
    inside_axes.remove()
    inside_axes, width_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(bins, len(y)))
    middle = [float(np.median(predicted[part])) for part in parts]
    inside = [float(np.mean((low[part] <= y[part]) & (y[part] <= high[part]))) for part in parts]
    inside_axes.axhline(level, color=GREY, linewidth=1, linestyle="--", label=f"promised: {level:.0%}")
    inside_axes.plot(middle, inside, "o-", color=BLUE, label="inside")
    inside_axes.set(title="Trips inside their interval, by predicted minutes", ylabel="share inside")
    inside_axes.set_ylim(min(0.8, *inside), 1.0)
    inside_axes.yaxis.set_major_formatter("{x:.0%}")
    inside_axes.legend(frameon=False, loc="lower right", ncols=2)
    width_axes.plot(middle, [float(np.mean((high - low)[part])) for part in parts], "s-", color=BLUE, markersize=4)
    width_axes.set(xlabel="predicted (minutes)", ylabel="mean width\n(minutes)")
    width_axes.set_ylim(bottom=0)
    for axes in (inside_axes, width_axes):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def importance(shares: Mapping[str, float], of: str, note: str = "", top: int = 15) -> Figure:
    """Share of each column in the whole, the `top` largest; `of` says of what it is a share."""
    figure, axes = new_figure("Importance of the columns", of, "")
    names = sorted(shares, key=lambda name: -shares[name])[:top][::-1]
    axes.barh(names, [shares[name] for name in names], color=BLUE)
    axes.xaxis.set_major_formatter("{x:.0%}")
    _note(figure, note)
    return figure


def shap_summary(values: np.ndarray, X: np.ndarray, columns: Sequence[str], note: str = "", top: int = 12) -> Figure:
    """What each column adds to each answer: SHAP `values` in minutes and X, both of shape (n, columns).

    A dot is a trip; its colour tells whether the column's own value is low or high among the trips.
    """
    figure, axes = new_figure("Effects of the columns (SHAP)", "minutes added to the answer", "")
    figure.set_size_inches(6.4, 5.0)
    mean = np.abs(values).mean(axis=0)
    shown = np.argsort(-mean, kind="stable")[:top][::-1]
    scatter = np.random.default_rng(0)
    for height, place in enumerate(shown):
        rank = np.argsort(np.argsort(X[:, place])) / max(1, len(X) - 1)
        up = height + scatter.uniform(-0.3, 0.3, len(X))
        image = axes.scatter(values[:, place], up, c=rank, cmap="coolwarm", s=4, linewidths=0, vmin=0, vmax=1)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{columns[place]} ({mean[place]:.2f})" for place in shown])
    bar = figure.colorbar(image, ax=axes, ticks=[0, 1], label="value of the column", shrink=0.6)
    bar.ax.set_yticklabels(["low", "high"])
    _note(figure, "\n".join(["In brackets: the mean size, in minutes.", note]))
    return figure


def partial_dependence(found: Sequence[Dependence], units: Mapping[str, str]) -> Figure:
    """The mean answer if all trips had a value of a column: a panel each, on one scale of minutes."""
    figure, axes = new_figure("", "", "")
    axes.remove()
    panels = figure.subplots(-(-len(found) // 3), min(3, len(found)), sharey=True, squeeze=False)
    figure.set_size_inches(6.4, 2.3 * len(panels) + 0.4)
    for panel, one in zip(panels.flat, found, strict=False):
        panel.plot(one.values, one.minutes, color=BLUE)
        panel.set_title(one.column, fontsize=9)
        panel.set_xlabel(textwrap.fill(units.get(one.column, ""), 24), fontsize=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels.flat[len(found) :]:
        panel.set_visible(False)
    figure.suptitle("Partial dependence: the mean answer by one column")
    figure.supylabel("predicted (minutes)", fontsize=9)
    return figure


def _points(axes: Axes, at: np.ndarray, found: GroupedError, upright: bool = True) -> None:
    draw = partial(axes.errorbar, fmt="o", color=BLUE, ecolor=GREY, capsize=2, label="RMSE, 95 % interval by days")
    if upright:
        draw(at, found.rmse, yerr=np.nan_to_num(found.half))
        axes.set_ylim(bottom=0)
    else:
        draw(found.rmse, at, xerr=np.nan_to_num(found.half))
        axes.set_xlim(left=0)


def _overall(line: Callable[..., object], error: np.ndarray) -> None:
    overall = float(np.sqrt(np.mean(error**2)))
    line(overall, color=ORANGE, linewidth=1.2, label=f"all trips: {overall:.2f}")


def _legend_above(axes: Axes, columns: int) -> None:
    """Between title and plot, where it hides nothing and nothing cuts it."""
    axes.set_title(axes.get_title(), pad=24)
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=8)


def _note(figure: Figure, text: str) -> None:
    if text.strip():
        figure.supxlabel(text.strip(), fontsize=6.5, color=GREY, x=0.01, ha="left")


def _some(rows: int) -> slice:
    """Every so-manieth row, so that MOST_POINTS remain at most."""
    return slice(None, None, -(-rows // MOST_POINTS) or 1)
