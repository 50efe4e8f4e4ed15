"""Where this project runs: which Python and platform, and what is said where it cannot."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import LAUNCHER, ROOT, environment, workplace

UV = LAUNCHER.with_name("uv")
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
ON_WINDOWS = "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = None; "  # which Windows' Python lacks
STARTED = "import runpy; runpy.run_module('steps.plan', run_name='__main__', alter_sys=True)"


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_of_the_lock_has_a_wheel(platform, tmp_path):
    """By hash, for Python 3.11: nothing has to be compiled there. Asks the package index, installs nothing."""
    command = [UV, "pip", "install", "--dry-run", "--target", tmp_path, "--python-platform", platform,
               "--python-version", "3.11", "--only-binary", ":all:", "-r", ROOT / "requirements.lock"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    if done.returncode and "error sending request" in done.stderr:
        pytest.skip(f"left out: wheels for {platform}, as the package index could not be asked")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith(" + ")]) > 90


@pytest.mark.parametrize("program", [STARTED, "import mlflow_first_use_lock"])
def test_windows_gets_a_line(program):
    """A step, whoever launches it, and our launcher, before what is not there is imported."""
    done = subprocess.run([sys.executable, "-S", "-c", ON_WINDOWS + f"sys.path[:0] = {[*sys.path]}; " + program],
                          cwd=ROOT, capture_output=True, text=True, env=environment())  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: this project runs on Linux and macOS, not on Windows itself\n Use WSL")
    assert "Traceback" not in done.stderr


def test_an_older_python_gets_a_line():
    """Python 3.9 on PATH, say, with --env-manager local."""
    program = "import sys; sys.version_info = (3, 9, 2); " + STARTED
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert done.stderr.startswith("Error: this is not the environment that conda.yaml pins: ")
    assert "Traceback" not in done.stderr


def test_a_bare_python_gets_a_line(tmp_path):
    """The first on PATH, with --env-manager local: it has none of the packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    command = [tmp_path / "bare" / "bin" / "python", "-m", "steps.hpo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert "bare/bin/python lacks click, cloudpickle, cryptography and 2" in done.stderr
    assert "Use `.venv/bin/mlflow run . --env-manager uv`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_cannot_be_had_is_named_and_the_run_is_ended(tmp_path, migrated_store):
    """conda.yaml's Python is not on this machine, and uv may not fetch it: no traceback, no run that stays RUNNING."""
    place = workplace(tmp_path, migrated_store)
    nowhere = {"UV_PYTHON_PREFERENCE": "only-managed", "UV_PYTHON_INSTALL_DIR": str(tmp_path / "pythons"),
               "UV_PYTHON_DOWNLOADS": "never", "MLFLOW_ENV_ROOT": str(tmp_path / "environments")}  # fmt: skip
    result = place.run("preprocess", env_manager="uv", env=nowhere)
    assert result.exit_code == 1
    assert "this machine has no Python 3.11.7, and uv could not fetch it" in result.stderr
    assert "pyenv install 3.11.7" in result.stderr
    assert "Traceback" not in result.stderr
    assert [run.info.status for run in place.client.search_runs(["0"])] == ["FAILED"]


def test_packages_that_cannot_be_had_are_said_and_the_run_is_ended(tmp_path, migrated_store):
    """No package index: uv's own words, then what helps."""
    place = workplace(tmp_path, migrated_store)
    nowhere = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_INDEX": "1", "UV_FIND_LINKS": "",
               "MLFLOW_ENV_ROOT": str(tmp_path / "environments")}  # fmt: skip
    result = place.run("preprocess", env_manager="uv", env=nowhere)
    assert result.exit_code == 1
    assert "the environment could not be built: the words of uv stand above" in result.stderr
    assert "Traceback" not in result.stderr
    assert [run.info.status for run in place.client.search_runs(["0"])] == ["FAILED"]


def test_make_setup_names_the_python_it_needs(tmp_path):
    """With an older one pip would refuse a package in many lines; with none the shell says "-m: not found"."""
    (tmp_path / "python").write_text("#!/bin/sh\necho 3.9; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    for file in (
        "Makefile",
        "requirements.lock",
        "requirements-dev.lock",
        "launcher.pth",
        "provenance/bootstrap/first_use_lock.py",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for python in (tmp_path / "python", tmp_path / "none", ""):
        done = subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert "Error: make needs Python 3.11 or newer" in done.stderr
        assert "make setup PYTHON=/path/to/python3.11" in done.stderr
        assert not Path(tmp_path, ".venv").exists()
