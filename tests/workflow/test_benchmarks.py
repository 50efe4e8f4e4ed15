"""Every published figure has a command, and every command can be asked what it does."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.project import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_what_it_measures(script):
    """`--help` answers, without the imports that only the measuring needs."""
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script.name}" in " ".join(done.stdout.split())


# The least work that each can be given. Not here: chain and margins, of many minutes; serving, which needs wrk.
LEAST = {
    "cached": "--runs 1 --env-manager local",
    "gate": "--seeds 20",
    "hosts": "--trials 1 --delays 0 --model-bytes 0",
    "impact": "--chains 12 --runs 1",
    "growth": "--rows 6000 --rounds 2 --plot plot.png",
    "memory": "--rows 2000 --months 3 4",
    "overhead": "--rows 2000 --trials 2",
    "preprocess": "--source sample:3000 --runs 1",
    "pruning": "--searches 1 --trials 4",
    "refresh": "--trials 1 --months nowhere",
    "search_quality": "--seeds 2 --trials 6 --plot plot.png",
    "search_speed": "--source sample --trials 2 --runs 1",
    "shared_fit": "--source sample:3000 --members 2 --runs 1",
    "shared_machine": "--chains 2 --rows 1000",
    "startup": "--runs 1 --env-manager local",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAST)
def test_a_script_measures(name, tmp_path):
    """To its end, on the code as it is now; what it says of so little is of no interest."""
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *LEAST[name].split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)
    assert ("plot.png" in LEAST[name]) == (tmp_path / "plot.png").exists()


def test_nothing_goes_to_the_store_that_the_user_has_set():
    """It may be a team's server."""
    code = "import os, bench; print([name for name in os.environ if name.startswith('MLFLOW_')])"
    variables = {**os.environ, "MLFLOW_TRACKING_URI": "http://team", "PYTHONPATH": str(ROOT / "benchmarks")}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    for script in (ROOT / "benchmarks").glob("*.py"):
        text = script.read_text()
        assert "mlflow" not in text or "import bench" in text or "from bench import" in text, script.name


def test_the_results_name_commands_that_there_are():
    """Each command of RESULTS.md runs a script of this folder, with flags that it has."""
    commands = re.findall(r"python benchmarks/(\w+\.py)([^\n`]*)", (ROOT / "benchmarks" / "RESULTS.md").read_text())
    assert commands
    for name, flags in commands:
        text = (ROOT / "benchmarks" / name).read_text()
        assert all(f'"{flag}"' in text for flag in re.findall(r"--[\w-]+", flags)), (name, flags)
