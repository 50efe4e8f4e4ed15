"""The description of a run: first the result, then links to other runs, then further text, and at last the record.

The result comes first because MLflow shows three lines of a description and hides the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from provenance.record.lineage import Input, Lineage, Output
from provenance.record.validation import code

_RUN = re.compile(r"runs:/([0-9a-f]{32})(?:/|$)")
_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})$")
_VERSION = re.compile(r"models:/([\w.-]+)/(\d+)$")
_CELL_END = re.compile(r"(?<=[^\s|])(?= \| *\S)")  # the end of each cell except the last
_UNDER_HEADS = re.compile(r"[|\s:-]+")
GAP = "&emsp;"
SHORT = 8  # characters of a run id


def page(lineage: Lineage, experiment: str, parent: str | None = None, reused: str | None = None,
         steps: Mapping[str, str] | None = None, about: Sequence[str] = (), note: str = "",
         signer: str = "") -> str:  # fmt: skip
    """The description of a run, as Markdown for MLflow's page.

    experiment: id of the run's experiment. parent: id of the run that started it. reused: id of the run that it reused.
    steps: name of a step -> its run id, for a chain. about: paragraphs; the first is the result, in one line.
    note: further Markdown of the step. signer: name of the key that signed the record.
    """
    links = [f"started by {run_link(parent)}"] if parent else []
    links += [f"reused {run_link(reused)}"] if reused else []
    links += [f"steps: {_joined(run_link(run_id, name) for name, run_id in steps.items())}"] if steps else []
    # The outputs of a chain are on the pages of its steps. Only a model version is linked: it has a page of its own.
    made = [item for item in lineage.outputs if not steps or _VERSION.fullmatch(item.uri)]
    links += [f"made: {_joined(_link(item, item.name, experiment) for item in made)}"] if made else []
    read = [_link(item, item.role, experiment) for item in lineage.inputs]
    links += [f"from: {_joined(read)}"] if read else []
    links += [f"signed by {code(signer)}"] if signer else []
    head = f"**{lineage.step}**" + "".join(f" · {link}" for link in links)
    return spaced("\n\n".join(filter(None, [*about[:1], head, *about[1:], note, lineage.description()])))


def report_page(result: str, links: Sequence[str], report: str) -> str:
    """The description of a run that examines other runs: its result in one line, links, then the report."""
    return spaced("\n\n".join(filter(None, [result, _joined(links), report])))


def artifact_link(experiment: str, run_id: str, path: str) -> str:
    """A link to MLflow's page of an artifact of a run."""
    return f"[{path}](#/experiments/{experiment}/runs/{run_id}/artifacts/{path})"


def version_link(name: str, version: str) -> str:
    """A link to MLflow's page of a model version."""
    return f"[{name} version {version}](#/models/{name}/versions/{version})"


def _joined(links: Iterable[str]) -> str:
    return " · ".join(links)


def spaced(markdown: str) -> str:
    """`markdown` with a wide space after each cell of its tables, because MLflow shows columns without a gap."""
    lines = markdown.split("\n")
    return "\n".join(
        _CELL_END.sub(GAP, line) if line.startswith("| ") and not _UNDER_HEADS.fullmatch(line) else line
        for line in lines
    )


def run_link(run_id: str, name: str = "") -> str:
    """A link to MLflow's page of a run."""
    return f"[{name or f'run {run_id[:SHORT]}'}](#/runs/{run_id})"


def _link(item: Input | Output, name: str, experiment: str) -> str:
    """A link to the page of the content, or only `name` if there is no page."""
    if match := _RUN.match(item.uri):
        return run_link(match[1], name)
    if match := _MODEL.fullmatch(item.uri):
        return f"[{name}](#/experiments/{experiment}/models/{match[1]})"
    if match := _VERSION.fullmatch(item.uri):
        return version_link(match[1], match[2])
    return name
