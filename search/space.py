"""One dimension of a search space, and tables and warnings about a whole space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Space: TypeAlias = dict[str, Any]  # parameter -> hyperopt's expression; hyperopt has no types

EDGE = 0.02  # share of a dimension's range that counts as its end


@dataclass(frozen=True)
class Dimension:
    """One dimension of a search space: a parameter and its range.

    Parameters
    ----------
    name : str
        Name of the parameter.
    low, high : float
        The ends of the range, both included. If `low` is an int, only whole numbers are tried.
    scale : str, optional
        "linear" or "log".
    unit : str, optional
        Unit of the parameter; an empty string means that it has none.
    """

    name: str
    low: float
    high: float
    scale: str = "linear"
    unit: str = ""

    def place(self, value: float) -> float:
        """The position of `value` in the range, on its scale: 0.0 at the lower end, 1.0 at the upper end."""
        scale = math.log if self.scale == "log" else float
        return (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def expression(self) -> Any:
        """The dimension as hyperopt's expression, for a Space."""
        from hyperopt import hp
        from hyperopt.pyll.base import scope

        whole = isinstance(self.low, int)
        low, high = (math.log(self.low), math.log(self.high)) if self.scale == "log" else (self.low, self.high)
        if whole:
            quantized = hp.qloguniform if self.scale == "log" else hp.quniform
            return scope.int(quantized(self.name, low, high, 1))
        return (hp.loguniform if self.scale == "log" else hp.uniform)(self.name, low, high)


def edges(
    dimensions: Sequence[Dimension], params: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]
) -> list[str]:
    """One sentence for each parameter that lies at an end of its range: beyond the end there may be better values.

    A whole number lies at an end if it is equal to it. A real number does if it is within 2 % of the range. `limits`
    are the lowest and highest values that a parameter can have. An end at its limit is not reported, because the range
    cannot be wider.
    """
    found = []
    for dimension in dimensions:
        value, low, high = params.get(dimension.name), dimension.low, dimension.high
        if not isinstance(value, int | float):
            continue
        lowest, highest = limits.get(dimension.name, (-math.inf, math.inf))
        margin = 0.0 if isinstance(low, int) else EDGE
        place = dimension.place(value)
        if (place <= margin and low > lowest) or (place >= 1 - margin and high < highest):
            end = "lower" if place <= margin else "upper"
            found.append(f"{dimension.name} {value:g} at the {end} end of {low:g} to {high:g}")
    return found


def space_table(dimensions: Sequence[Dimension]) -> str:
    """The search space as a Markdown table: range, scale and unit of each parameter. Both ends are included."""
    rows = [f"| {d.name} | {d.low:g} | {d.high:g} | {_scale(d)} | {d.unit} |" for d in dimensions]
    return "\n".join(["| searched | from | to | scale | unit |", "| --- | ---: | ---: | --- | --- |", *rows])


def _scale(dimension: Dimension) -> str:
    return f"{dimension.scale}, whole numbers" if isinstance(dimension.low, int) else dimension.scale
