"""A search space as people read it: one line for each hyperparameter."""

from collections.abc import Sequence

from taxi.family import Dimension


def space_table(dimensions: Sequence[Dimension]) -> str:
    """Markdown: what is searched, from where to where, both ends in, on which scale, in which unit."""
    rows = [f"| {d.name} | {d.low:g} | {d.high:g} | {_scale(d)} | {d.unit} |" for d in dimensions]
    return "\n".join(["| searched | from | to | scale | unit |", "| --- | ---: | ---: | --- | --- |", *rows])


def _scale(dimension: Dimension) -> str:
    return f"{dimension.scale}, whole numbers" if isinstance(dimension.low, int) else dimension.scale
