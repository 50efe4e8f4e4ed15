"""What a run's page says first: where its inputs came from and what it made, as links, then the record."""

from __future__ import annotations

import re
from collections.abc import Mapping

from provenance.record.lineage import Input, Lineage, Output

_RUN = re.compile(r"runs:/([0-9a-f]{32})(?:/|$)")
_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})$")
_VERSION = re.compile(r"models:/([\w.-]+)/(\d+)$")
_CELL_END = re.compile(r"(?<=[^\s|])(?= \| *\S)")  # but not of the last one
_UNDER_HEADS = re.compile(r"[|\s:-]+")
GAP = "&emsp;"
MADE_UP = (
    "**The city is made up**: this project generated the trips of the sample, and no taxi ever drove them. What was "
    "learned of them is not about New York."
)
SHORT = 8  # characters of a run id


def page(lineage: Lineage, experiment: str, parent: str | None = None, reused: str | None = None,
         steps: Mapping[str, str] | None = None, note: str = "") -> str:  # fmt: skip
    """Markdown for MLflow's pages: links, what the step itself says (`note`), the record.

    `parent`, `reused` and the values of `steps` are run ids, `experiment` is an id.
    """
    head = [f"**{lineage.step}**"]
    head += [f"started by {run_link(parent)}"] if parent else []
    head += [f"reused {run_link(reused)}"] if reused else []
    made_up = any(item.uri.split(":")[0] == "sample" for item in lineage.inputs)  # months that a run read
    lines = [*([MADE_UP] if made_up else []), ", ".join(head)]
    if steps:
        lines.append(f"steps: {' · '.join(run_link(run_id, name) for name, run_id in steps.items())}")
    if lineage.inputs:
        lines.append(f"from: {' · '.join(_link(item, item.role, experiment) for item in lineage.inputs)}")
    if lineage.outputs and not steps:
        lines.append(f"made: {' · '.join(_link(item, item.name, experiment) for item in lineage.outputs)}")
    return spaced("\n\n".join(filter(None, [*lines, note, lineage.description()])))


def spaced(markdown: str) -> str:
    """The same with a wide space after each cell of its tables: MLflow's pages put no gap between columns."""
    lines = markdown.split("\n")
    return "\n".join(
        _CELL_END.sub(GAP, line) if line.startswith("| ") and not _UNDER_HEADS.fullmatch(line) else line
        for line in lines
    )


def run_link(run_id: str, name: str = "") -> str:
    return f"[{name or f'run {run_id[:SHORT]}'}](#/runs/{run_id})"


def _link(item: Input | Output, name: str, experiment: str) -> str:
    """The page where the content lies; its name alone where there is none."""
    if match := _RUN.match(item.uri):
        return run_link(match[1], name)
    if match := _MODEL.fullmatch(item.uri):
        return f"[{name}](#/experiments/{experiment}/models/{match[1]})"
    if match := _VERSION.fullmatch(item.uri):
        return f"[{match[1]} version {match[2]}](#/models/{match[1]}/versions/{match[2]})"
    return name
