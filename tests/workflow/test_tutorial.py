"""The tutorial, followed from an empty home: every command and Python block, in order, prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import repository
from tests.support.project import LAUNCHER, ROOT, copied, environment

PAGE = ROOT / "docs" / "tutorial.md"
# Lines beside the result: MLflow's own, and that uv builds where there is no conda.
ASIDE = re.compile(
    r"\d{4}/\d\d/\d\d [\d:]+ (?:INFO|WARNING)|there is no conda here|Downloading artifacts:|/\S+Warning: "
)
SECONDS = 900


class Part(NamedTuple):
    """Something to type, and what it prints."""

    command: str
    expected: str


def parts(text: str) -> list[Part]:
    """The commands of ```console blocks, and each ```python block with the ```text block that follows it."""
    found: list[Part] = []
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.S)
    for (kind, content), (_, after) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            found.append(Part(f".venv/bin/python - <<'PYTHON'\n{content}PYTHON", after))
        if kind == "console":
            commands = re.split(r"(?m)^\$ ", content)[1:]
            for command, _, expected in (text.partition("\n") for text in commands):
                found.append(Part(command, expected))
    return found


def matches(expected: str, printed: str) -> bool:
    """Line by line but for space; a line `...` stands for any lines, `...` in a line for any text."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if not ASIDE.match(line)]
    pattern = ""
    for line in expected.splitlines():
        words = " ".join(line.split())
        pattern += r"(?:.*\n)*?" if words == "..." else re.escape(words).replace(r"\.\.\.", ".*") + r"\n"
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in lines if line)))


def test_what_is_left_out_may_be_anything():
    assert matches("...\na ... c\n...", "x\n\ny\na  b c\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("...\nb\n", "a\n")


@pytest.fixture
def clone(tmp_path) -> Path:
    """A repository of its own with this project, its launcher as `make setup` leaves it, and nothing else."""
    folder = copied(tmp_path / "clone")
    repository.commit(folder)
    (folder / ".venv").symlink_to(LAUNCHER.parents[1])
    for name in ("requirements.lock", "requirements-dev.lock", "launcher.pth"):
        os.utime(folder / name, (0, 0))  # older than .venv/ready, or make would make the launcher anew
    os.utime(folder / "provenance" / "bootstrap" / "first_use_lock.py", (0, 0))
    assert subprocess.run(["make", "-q", "setup"], cwd=folder).returncode == 0
    return folder


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says(clone, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    variables = environment({"HOME": str(home), "PYTHONWARNINGS": "ignore", "id": ""})
    steps = parts(PAGE.read_text())
    assert len(steps) > 12
    kept = tmp_path / "id"  # the shell's one variable, from one command to the next
    kept.touch()
    for command, expected in steps:
        script = f"id=$(cat {kept})\n{command}\nstatus=$?\necho $id > {kept}\nexit $status"
        done = subprocess.run(["bash", "-c", script], cwd=clone, env=variables, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=SECONDS)  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        assert matches(expected, done.stdout), f"{command}\n{done.stdout}"
