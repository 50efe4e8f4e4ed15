"""Every published figure has a command, and every command can be asked what it does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_what_it_measures(script):
    """`--help` answers, without the imports that only the measuring needs."""
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script.name}" in " ".join(done.stdout.split())


def test_the_results_name_commands_that_there_are():
    """Each command of RESULTS.md runs a script of this folder, with flags that it has."""
    commands = re.findall(r"python benchmarks/(\w+\.py)([^\n`]*)", (ROOT / "benchmarks" / "RESULTS.md").read_text())
    assert commands
    for name, flags in commands:
        text = (ROOT / "benchmarks" / name).read_text()
        assert all(f'"{flag}"' in text for flag in re.findall(r"--[\w-]+", flags)), (name, flags)
