"""Steps under conda: in whatever shell they are started, they run in the environment that conda built, or refuse."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from provenance.record import names
from tests.support.conda_standin import PIP, Conda, channel
from tests.support.project import LAUNCHER, Workplace, copied, environment, workplace
from tests.support.records import recorded
from tests.support.small_project import FIRST, lay_out
from tests.support.wheels import wheel


@pytest.fixture(scope="session")
def conda_channel(tmp_path_factory) -> Path:
    return channel(tmp_path_factory.mktemp("channel"))


def environment_name(project: Path) -> str:
    """As MLflow names what conda makes."""
    return f"mlflow-{hashlib.sha1((project / 'conda.yaml').read_bytes()).hexdigest()}"


class CondaProject:
    """A project of one step that needs two packages: one of its own, and one that conda brings along with pip."""

    def __init__(self, folder: Path, downloads: Path):
        self.folder, wheels = folder / "project", folder / "wheels"
        lay_out(self.folder)
        (self.folder / "steps" / "say.py").write_text(
            FIRST + "import importlib.metadata as metadata, sys, first, packaging\n"
            "print('ran in', sys.prefix, 'packaging by', metadata.distribution('packaging').read_text('INSTALLER'))\n"
        )
        wheels.mkdir()
        packaging = next(downloads.glob("packaging-*.whl"))
        shutil.copy(packaging, wheels)
        version, digest = packaging.name.split("-")[1], hashlib.sha256(packaging.read_bytes()).hexdigest()
        (self.folder / "requirements.lock").write_text(
            f"--require-hashes\n--no-index\n--find-links {wheels}\n{wheel(wheels, 'first')}"
            f"packaging=={version} \\\n    --hash=sha256:{digest}\n"
        )
        (self.folder / "conda.yaml").write_text(
            f"dependencies:\n  - python={platform.python_version()}\n  - pip={PIP}\n"
            "  - pip:\n      - -r requirements.lock\n"
        )
        (self.folder / "MLproject").write_text(
            "name: small\nconda_env: conda.yaml\nentry_points:\n  main:\n    command: python -m steps.say\n"
        )


def launched(launcher: list[str | Path], project: Path, folder: Path, variables: dict, *words: str) -> list:
    command = [*launcher, "run", project, "--env-manager", "conda", *words]
    return command, {"cwd": folder, "env": environment({"PATH": os.defpath, **variables}), "text": True}


def test_a_step_runs_in_condas_environment_while_base_is_active(tmp_path, conda_channel, migrated_store):
    """Also where packages are as conda-forge builds them: what the lock pins comes from the lock's own wheels."""
    conda, small = (
        Conda.make(tmp_path / "conda", conda_channel),
        CondaProject(tmp_path, conda_channel.parent / "downloads"),
    )
    place = workplace(tmp_path / "place", migrated_store)
    left = small.folder / "condaenv.abc.requirements.txt"
    left.write_text("of a build that was killed")
    os.utime(left, (1, 1))
    command, how = launched([LAUNCHER], small.folder, place.folder, conda.base_active())
    done = subprocess.run(command, **how, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = conda.root / "envs" / environment_name(small.folder)
    assert f"ran in {wanted} packaging by pip" in done.stdout
    assert f"completing the environment {wanted}, which lacks packaging\n" in done.stderr
    assert not left.exists()
    assert list(wanted.glob("lib/python*/site-packages/__pycache__/first.*.pyc"))


# Where each step runs, by what the user's shell has. None: refused in one line, with the remedy.
SITUATIONS = {
    "conda named, nothing active": ("project", "named", True),
    "base active": ("project", "base_active", True),
    "conda on PATH alone": ("project", "on_path", True),
    "own MLflow in a venv, conda named": ("own", "named", True),
    "own MLflow in an active venv, conda named": ("own active", "named", True),
    "own MLflow in an active venv, conda on PATH": ("own active", "on_path", False),
    "own MLflow in an active venv, base active": ("own active", "base_active", False),
}


@dataclass(frozen=True)
class Shell:
    """The whole project with conda, and a virtual environment with somebody's own MLflow."""

    conda: Conda
    place: Workplace
    own: Path
    project: Path

    def start(self, launcher: str, setting: str, *words: str) -> subprocess.Popen:
        variables = getattr(self.conda, setting)()
        start = [LAUNCHER] if launcher == "project" else [self.own / "bin" / "python", "-m", "mlflow"]
        if launcher == "own active":
            variables |= {"PATH": f"{self.own}/bin:{variables.get('PATH', os.defpath)}", "VIRTUAL_ENV": str(self.own)}
        words = ("-e", "preprocess", "-P", "source=sample:1000", *words)
        command, how = launched(start, self.project, self.place.folder, variables, *words)
        return subprocess.Popen(command, **how, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    def run(self, launcher: str, setting: str, *words: str) -> tuple[int, str, str]:
        step = self.start(launcher, setting, *words)
        out, err = step.communicate(timeout=1800)
        return step.returncode, out, err

    def folder(self, out: str) -> str:
        """Where the run, whose step printed `out`, says that it ran."""
        return self.place.client.get_run(self.run_id(out)).data.tags[names.ENVIRONMENT_FOLDER]

    def recorded(self, out: str) -> tuple[str, list]:
        """The environment's manager, and what differs from the lock."""
        environment = recorded(self.place.client, self.run_id(out)).environment
        return environment["manager"], environment["differences"]

    @staticmethod
    def run_id(out: str) -> str:
        return out.rpartition("\nrun ")[2].split()[0] if "\nrun " in out else out.split()[-1]

    @property
    def environment(self) -> Path:
        return self.conda.root / "envs" / environment_name(self.project)


@pytest.fixture(scope="module")
def shell(tmp_path_factory, conda_channel, migrated_store) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("shell")
    own = folder / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", own], check=True)
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (next(own.glob("lib/python*/site-packages")) / "packages.pth").write_text(f"{packages}\n")
    conda, place = Conda.make(folder / "conda", conda_channel), workplace(folder / "place", migrated_store)
    yield Shell(conda, place, own, copied(folder / "project"))
    shutil.rmtree(conda.root)


@pytest.mark.slow
def test_a_killed_build_is_completed(shell):
    """The file that the build left in the checkout goes, and the environment is made whole."""
    killed = shell.start("project", "base_active")
    until = time.monotonic() + 900
    while len(list(shell.environment.glob("lib/python*/site-packages/*.dist-info"))) < 6:
        assert time.monotonic() < until and killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    for left in shell.project.glob("condaenv.*"):
        os.utime(left, (1, 1))
    code, out, err = shell.run("project", "base_active")
    assert code == 0, err[-3000:]
    assert f"completing the environment {shell.environment}" in err
    assert not list(shell.project.glob("condaenv.*"))
    assert shell.folder(out) == str(shell.environment)
    assert shell.recorded(out) == ("conda", [])


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_step_runs_where_its_run_says_or_refuses(shell, situation):
    """What is recorded of conda was run by conda's own interpreter."""
    launcher, setting, runs = SITUATIONS[situation]
    before = len(shell.place.client.search_runs(["0"]))
    code, out, err = shell.run(launcher, setting, "-P", "reuse=false")
    print(
        f"{situation}: exit {code}", [line for line in err.splitlines() if "Error: " in line] or out.splitlines()[-1:]
    )
    if runs:
        assert code == 0, err[-3000:]
        assert shell.recorded(out) == ("conda", [])
        assert shell.folder(out) == str(shell.environment)
    else:
        assert code == 1
        assert f"says conda, and its step runs in {shell.own}" in err
        assert "Set MLFLOW_CONDA_HOME" in err
        assert "Traceback" not in err
        newest, *_ = shell.place.client.search_runs(["0"])
        assert newest.info.status == "FAILED"
        assert not [name for name in newest.data.tags if name.startswith(names.PREFIX)]
    assert len(shell.place.client.search_runs(["0"])) == before + 1


@pytest.mark.slow
def test_of_two_first_builds_at_once_one_builds(shell):
    """The other waits and runs in the same environment."""
    shutil.rmtree(shell.environment, ignore_errors=True)
    pair = [shell.start("project", "on_path") for _ in range(2)]
    ended = [(*step.communicate(timeout=1800), step.returncode) for step in pair]
    for out, err, code in ended:
        assert code == 0, err[-3000:]
        assert shell.folder(out) == str(shell.environment)
    assert sum("=== Creating conda environment" in err for _, err, _ in ended) == 1
