"""One axis of a search space, and a whole one as people read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Space: TypeAlias = dict[str, Any]  # parameter -> hyperopt's expression, a class of a library without types

EDGE = 0.02  # share of an axis


@dataclass(frozen=True)
class Dimension:
    """One axis of a search space. `scale` is linear or log; whole numbers where `low` is an int."""

    name: str
    low: float
    high: float
    scale: str = "linear"
    unit: str = ""

    def place(self, value: float) -> float:
        """Where `value` lies on the axis, 0.0 at its lower end and 1.0 at its upper one."""
        scale = math.log if self.scale == "log" else float
        return (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def expression(self) -> Any:
        """The axis as hyperopt says it, for a Space."""
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
    """Where `params` lie at an end of the space, in words: beyond it there may be better ones.

    A whole number lies there when it is the end, a real one within 2 % of the axis. `limits` are the lowest and the
    highest value that there is of a parameter at all: an end that is one of these cannot be moved, and is none.
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
    """Markdown: what is searched, from where to where, both ends in, on which scale, in which unit."""
    rows = [f"| {d.name} | {d.low:g} | {d.high:g} | {_scale(d)} | {d.unit} |" for d in dimensions]
    return "\n".join(["| searched | from | to | scale | unit |", "| --- | ---: | ---: | --- | --- |", *rows])


def _scale(dimension: Dimension) -> str:
    return f"{dimension.scale}, whole numbers" if isinstance(dimension.low, int) else dimension.scale
