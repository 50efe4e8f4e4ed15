"""Environments from the lock alone: every manager builds exactly it, and none installs what has another hash."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provenance.record import names
from tests.support.conda_standin import conda_home
from tests.support.project import LAUNCHER, ROOT, Workplace, environment, workplace
from tests.support.records import recorded

pytestmark = pytest.mark.slow
FIRST_LINE = (ROOT / "requirements.lock").read_text().splitlines()[0]
SMALL = next(re.finditer(r"(?m)^threadpoolctl==\S+", (ROOT / "requirements.lock").read_text())).group()
TOOLS = {
    "pip": [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--target"],
    "uv": [Path(sys.executable).parent / "uv", "pip", "install", "--no-deps", "--no-cache", "--target"],
}
TAMPERED = {"another hash": f"{SMALL} --hash=sha256:{'0' * 64}", "no hash": SMALL}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("line", TAMPERED)
def test_a_tampered_package_is_not_installed(tool, line, tmp_path):
    """The lock's own first line demands hashes of whoever reads it: MLflow passes no such option."""
    lock, target = tmp_path / "requirements.lock", tmp_path / "target"
    lock.write_text(f"{FIRST_LINE}\n{TAMPERED[line]}\n")
    done = subprocess.run(
        [*TOOLS[tool], target, "-r", lock], capture_output=True, text=True, env=environment(), cwd=tmp_path
    )
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert not list(target.rglob("threadpoolctl.py"))


@pytest.mark.parametrize("manager", ["uv", "virtualenv", "conda"])
def test_a_first_build_is_exactly_the_lock(manager, tmp_path, migrated_store):
    """From no environment at all; the run itself says what it found installed, and where it ran."""
    if manager == "virtualenv" and not shutil.which("pyenv", path=environment()["PATH"]):
        pytest.skip("left out: a build by virtualenv, as there is no pyenv")
    place = workplace(tmp_path / "place", migrated_store)
    built = {"MLFLOW_ENV_ROOT": str(tmp_path / "environments"), "PYTHONDONTWRITEBYTECODE": "1"}
    where = tmp_path
    if manager == "conda":
        where = conda_home() / "envs"
        built |= {"MLFLOW_CONDA_HOME": str(where.parent)}
    result = place.run("preprocess", env_manager=manager, env=built, source="sample:1000")
    assert result.exit_code == 0, result.stderr[-3000:]
    found = recorded(place.client, result.run_id).environment
    assert (found["manager"], found["differences"]) == (manager, [])
    folder = Path(place.client.get_run(result.run_id).data.tags[names.ENVIRONMENT_FOLDER])
    assert folder.is_relative_to(where)
    assert len(re.findall(r"compiling, once, [0-9,]+ files", result.stderr)) == 1  # beside Python's own, under conda
    assert next(folder.glob("lib/python*/site-packages/xgboost/__pycache__/core.*.pyc")).is_file()


def start(place: Workplace, entry_point: str, **variables: str) -> subprocess.Popen:
    command = [LAUNCHER, "run", ROOT, "-e", entry_point, "-P", "source=sample:1000", "--env-manager", "uv"]
    return subprocess.Popen(command, cwd=place.folder, env=environment(variables), text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_of_four_first_runs_at_once_one_builds_and_all_succeed(tmp_path):
    """Neither environment nor store is there. MLflow alone would let them build into one folder, and then delete it."""
    place, root = Workplace(tmp_path / "place"), tmp_path / "environments"
    place.folder.mkdir()
    runs = [start(place, "plan", MLFLOW_ENV_ROOT=str(root)) for _ in range(4)]
    ended = [(*run.communicate(timeout=600), run.returncode) for run in runs]
    for out, err, code in ended:
        assert code == 0, err[-3000:]
        assert out.startswith("preprocess  run")
        assert "completing" not in err
    assert sum("Creating a new environment" in err for _, err, _ in ended) == 1
    assert sum("Updating database tables" in err for _, err, _ in ended) == 1
    waited = [err for _, err, _ in ended if "Creating a new environment" not in err]
    assert all("waiting: another process builds the environment" in err for err in waited), waited
    assert [path.name for path in root.iterdir() if path.is_dir()] == [path.stem for path in root.glob("*.lock")]


def test_a_build_that_was_killed_is_completed_by_the_next_run(tmp_path, migrated_store):
    """MLflow takes the folder for a whole environment, and would end in "No module named ..."."""
    place, root = workplace(tmp_path / "place", migrated_store), tmp_path / "environments"
    # Copied files: slow enough to be caught at it.
    killed = start(place, "preprocess", MLFLOW_ENV_ROOT=str(root), UV_LINK_MODE="copy")
    until = time.monotonic() + 300
    while len(list(root.glob("*/lib/*/site-packages/*.dist-info"))) < 10:
        assert time.monotonic() < until and killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(list(root.glob("*/lib/*/site-packages/*.dist-info"))) < 100
    result = place.run("preprocess", env_manager="uv", env={"MLFLOW_ENV_ROOT": str(root)}, source="sample:1000")
    assert result.exit_code == 0, result.stderr[-3000:]
    assert f"completing the environment {root}" in result.stderr
    assert recorded(place.client, result.run_id).environment["differences"] == []
