"""Environments from the lock alone: every manager builds exactly it, and none installs what has another hash."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT, environment, workplace
from tracking import names

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


NEEDS = {"uv": "uv", "virtualenv": "pyenv", "conda": "conda"}


@pytest.mark.parametrize("manager", NEEDS)
def test_a_first_build_is_exactly_the_lock(manager, tmp_path, migrated_store):
    """From no environment at all; the run itself says what it found installed."""
    path = environment()["PATH"]
    if not shutil.which(NEEDS[manager], path=path):
        pytest.skip(f"left out: a build by {manager}, as there is no {NEEDS[manager]}")
    place = workplace(tmp_path / "place", migrated_store)
    built = {"MLFLOW_ENV_ROOT": str(tmp_path / "environments")}
    result = place.run("preprocess", env_manager=manager, env=built, source="sample:1000")
    assert result.exit_code == 0, result.stderr[-3000:]
    tags = place.client.get_run(result.run_id).data.tags
    assert tags[names.ENVIRONMENT_EQUALS_LOCK] == "true"
    assert tags[names.MANAGER] == manager
    assert manager == "conda" or tags[names.ENVIRONMENT_FOLDER].startswith(str(tmp_path))
