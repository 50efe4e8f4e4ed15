"""Figures as PNG files. Only matplotlib's Figure is used, so there is no global state and no display."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SIZE_INCHES, DOTS_PER_INCH = (6.4, 4.0), 140  # the text is readable on a telephone
BLUE, ORANGE, GREY = "#1f5fa8", "#d9701a", "#8a8a8a"


def save(figure: Figure, path: Path) -> None:
    """Write as PNG: the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})


def new_figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty figure and its only axes, with these labels."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
