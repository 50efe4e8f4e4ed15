"""Whichever MLflow launches it: it works, or one line says why not, and whose store it is may still open it.

Real releases of MLflow from the package index, each in an environment of its own, each with a store of its own.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.colleagues import tracking_server
from tests.support.project import LAUNCHER, ROOT, Workplace, environment

pytestmark = pytest.mark.slow
UV = LAUNCHER.with_name("uv")
OWN = "own"  # .venv/bin/mlflow, with what `make setup` puts beside it
OLDER = r"was made by MLflow 3\.10\.1 \(.*/mlflow\), which could not open it any more once MLflow 3\.17\.2"
NEWER = r"was made by MLflow 3\.18\.0 \(.*/mlflow\), and MLflow 3\.17\.2, which this project pins, cannot open it"
ELSEWHERE = r"this is not the environment that conda\.yaml pins: .* lacks \S+, \S+, \S+ and \d+ more"
FILES = r"is a store of files, which MLflow opens no more"
# Launcher, manager -> what its step says with a store that the launcher made for itself; None: it works.
OWN_STORE = {
    (OWN, "uv"): None,
    (OWN, "local"): None,
    ("3.17.2", "uv"): None,
    ("3.17.2", "virtualenv"): None,
    ("3.17.2", "local"): ELSEWHERE,
    ("3.10.1", "uv"): OLDER,
    ("3.18.0", "uv"): NEWER,
    ("2.22.5", "uv"): ELSEWHERE,  # which it takes without a word, and does not do
    ("2.22.5", "virtualenv"): FILES,
}
WITH_A_SERVER = [("3.10.1", "uv"), ("3.18.0", "uv"), ("2.22.5", "virtualenv")]


@dataclass(frozen=True)
class Launcher:
    """Somebody's own MLflow, its folder first on PATH, uv behind it."""

    version: str
    folder: Path
    environments: Path

    def run(self, place: Workplace, entry_point: str, manager: str, env: dict | None = None, **params: object):
        given = [word for name, value in params.items() for word in ("-P", f"{name}={value}")]
        return self("run", str(ROOT), "-e", entry_point, "--env-manager", manager, *given, cwd=place.folder, env=env)

    def __call__(self, *words: str, cwd: Path, env: dict | None = None) -> subprocess.CompletedProcess:
        user = environment({"MLFLOW_ENV_ROOT": str(self.environments), **(env or {})})
        user["PATH"] = f"{self.folder}:{user['PATH']}"
        return subprocess.run([self.folder / "mlflow", *words], cwd=cwd, env=user, capture_output=True, text=True)

    def newest_status(self, place: Workplace) -> str:
        """Of a run in the store, as this MLflow itself reads it: its own schema, then."""
        done = self("runs", "list", "--experiment-id", "0", cwd=place.folder)
        assert done.returncode == 0, done.stderr
        newest = re.findall(r"\b[0-9a-f]{32}\b", done.stdout)[0]
        return re.search(r'"status": "(\w+)"', self("runs", "describe", "--run-id", newest, cwd=place.folder).stdout)[1]


@pytest.fixture(scope="module")
def launchers(tmp_path_factory):
    """A function that gives the `Launcher` of a version, installed on first use."""
    folder, made = tmp_path_factory.mktemp("launchers"), {}

    def install(version: str, *more: str) -> None:
        command = [UV, "pip", "install", "--quiet", "--python", folder / version / "bin" / "python", *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode:
            pytest.skip(f"left out: MLflow {version} as launcher, as it could not be had: {done.stderr.strip()[-300:]}")

    def launcher(version: str) -> Launcher:
        if version not in made:
            bin = LAUNCHER.parent
            if version != OWN:
                bin = folder / version / "bin"
                subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder / version], check=True)
                if version == "3.18.0":  # an index may have it before the package that it stands on
                    install(version, "mlflow==3.17.2")
                    install(version, "--no-deps", "mlflow==3.18.0")
                else:
                    install(version, f"mlflow=={version}")
            made[version] = Launcher(version, bin, folder / "environments")
        return made[version]

    return launcher


@pytest.fixture(scope="module")
def server(tmp_path_factory, migrated_store):
    """Of the pinned MLflow."""
    with tracking_server(tmp_path_factory.mktemp("server") / "files", migrated_store) as url:
        yield url


def needs(manager: str) -> None:
    if manager == "virtualenv" and not shutil.which("pyenv"):
        pytest.skip("left out: launched with virtualenv, as there is no pyenv")


@pytest.mark.parametrize(("version", "manager"), OWN_STORE)
def test_with_a_store_of_its_own(launchers, tmp_path, version, manager):
    """An entry point that makes something, and `plan`, which leaves nothing."""
    needs(manager)
    launcher, place, line = launchers(version), Workplace(tmp_path), OWN_STORE[version, manager]
    for entry_point in ("preprocess", "plan"):
        done = launcher.run(place, entry_point, manager, source="sample:1000")
        assert "Traceback" not in done.stderr, done.stderr
        if line is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 1
            said = [text for text in done.stderr.splitlines() if text.startswith("Error: ")]
            assert len(said) == 1
            assert re.search(line, said[0])
    assert launcher.newest_status(place) == ("FINISHED" if line is None else "FAILED")


@pytest.mark.parametrize(("version", "manager"), WITH_A_SERVER)
def test_with_a_server(launchers, server, tmp_path, version, manager):
    """Steps and launcher need not be of one version then: neither opens the database."""
    needs(manager)
    launcher, to = launchers(version), {"MLFLOW_TRACKING_URI": server}
    done = launcher.run(Workplace(tmp_path), "preprocess", manager, env=to, source="sample:1000")
    assert done.returncode == 0, done.stderr
    (run_id,) = re.findall(r"(?m)^run ([0-9a-f]{32})$", done.stdout)
    assert '"FINISHED"' in launcher("runs", "describe", "--run-id", run_id, cwd=tmp_path, env=to).stdout


def test_an_older_store_is_converted_by_the_command_that_the_line_names(launchers, tmp_path):
    """And by nothing else: until then its owner opens it."""
    owner, own, place = launchers("3.10.1"), launchers(OWN), Workplace(tmp_path)
    assert owner("experiments", "create", "-n", "mine", cwd=tmp_path).returncode == 0
    before = (tmp_path / "mlflow.db").read_bytes()
    refused = own.run(place, "plan", "local")
    assert (refused.returncode, (tmp_path / "mlflow.db").read_bytes()) == (1, before)
    (command,) = re.findall(r"`mlflow (db upgrade sqlite:///\S+mlflow\.db)` with MLflow 3\.17\.2", refused.stderr)
    assert own(*command.split(), cwd=tmp_path).returncode == 0
    assert own.run(place, "plan", "local").returncode == 0
    assert "out-of-date database schema" in owner("experiments", "search", cwd=tmp_path).stderr
