"""One axis of a search space, and a whole one as people read it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Space: TypeAlias = dict[str, Any]  # parameter -> hyperopt's expression, a class of a library without types


@dataclass(frozen=True)
class Dimension:
    """One axis of a search space. `scale` is linear or log; whole numbers where `low` is an int."""

    name: str
    low: float
    high: float
    scale: str = "linear"
    unit: str = ""

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


def space_table(dimensions: Sequence[Dimension]) -> str:
    """Markdown: what is searched, from where to where, both ends in, on which scale, in which unit."""
    rows = [f"| {d.name} | {d.low:g} | {d.high:g} | {_scale(d)} | {d.unit} |" for d in dimensions]
    return "\n".join(["| searched | from | to | scale | unit |", "| --- | ---: | ---: | --- | --- |", *rows])


def _scale(dimension: Dimension) -> str:
    return f"{dimension.scale}, whole numbers" if isinstance(dimension.low, int) else dimension.scale
