"""The commands that the pages show, and what the pages say they print."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support.project import ROOT

PAGES = ("README.md", "CONTRIBUTING.md", *(page.relative_to(ROOT).as_posix() for folder in ("docs", "examples")
                                           for page in sorted((ROOT / folder).rglob("*.md"))))  # fmt: skip
BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
# Lines beside the result: MLflow's own, and that uv builds where there is no conda.
ASIDE = re.compile(
    r"\d{4}/\d\d/\d\d [\d:]+ (?:INFO|WARNING)|there is no conda here|Downloading artifacts:|/\S+Warning: "
)


@dataclass(frozen=True)
class Command:
    """Something to type in a shell, and what it prints; "" where the page does not say."""

    text: str
    expected: str = ""


def commands(text: str) -> list[Command]:
    """The commands of ```console blocks, and each ```python block with the ```text block that follows it."""
    found: list[Command] = []
    blocks = [*BLOCK.findall(text), ("", "")]
    for (kind, content), (after, printed) in pairwise(blocks):
        if kind == "python":
            shown = printed if after == "text" else ""
            found.append(Command(f".venv/bin/python - <<'PYTHON'\n{_shown(content)}PYTHON", shown))
        elif kind == "console" and content.startswith("$ "):
            parts = (part.partition("\n") for part in re.split(r"(?m)^\$ ", content)[1:])
            found += [Command(_bare(command), expected) for command, _, expected in parts]
        elif kind == "console":
            found += map(Command, map(_bare, whole(content)))
    return found


def _shown(python: str) -> str:
    """What an expression at the end gives is printed, as an interactive Python does."""
    *_, last = ast.parse(python).body
    before, after = python.splitlines()[: last.lineno - 1], python.splitlines()[last.lineno - 1 :]
    if isinstance(last, ast.Expr) and not after[0].startswith("print("):
        after = ["print(", *after, ")"]
    return "".join(f"{line}\n" for line in [*before, *after])


def whole(content: str) -> list[str]:
    """The commands of a block without prompts: a line, or several where a quote is open at its end."""
    found, pending = [], ""
    for line in content.splitlines():
        pending += line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:
            pending += "\n"
            continue
        if words:
            found.append(pending)
        pending = ""
    assert not pending, content
    return found


def _bare(command: str) -> str:
    """Without the comment at its end."""
    return re.sub(r"\s+# .*$", "", command)


def matches(expected: str, printed: str) -> bool:
    """Line by line but for space; a line `...` stands for any lines, `...` in a line for any text."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if not ASIDE.match(line)]
    pattern = ""
    for line in expected.splitlines():
        words = " ".join(line.split())
        pattern += r"(?:.*\n)*?" if words == "..." else re.escape(words).replace(r"\.\.\.", ".*") + r"\n"
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in lines if line)))


def of_page(page: str) -> list[Command]:
    return commands(Path(ROOT, page).read_text())
