"""Run this project as its users do: the real `mlflow run` in a process of its own, a folder and a store of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import background

if TYPE_CHECKING:  # seconds, which not every test has
    from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(sys.executable).parent / "mlflow"
REAL_MONTHS = ROOT.parent / "shared" / "tlc"  # beside a checkout; never part of the project
# A warning as Python prints it, of a file of ours: they are errors in a process that is started, too.
OWN_WARNING = re.compile(
    r"(?m)^(?!.*/site-packages/).*/(?:steps|taxi|provenance|search|runtime)/.*\.py:\d+: \w*Warning: .*$"
)
# Small enough for a step to take mostly its start-up, large enough to fit something.
SMALL = {"source": "sample:3000", "max_evals": "4"}


@dataclass(frozen=True)
class Result:
    """A finished `mlflow run`."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def run_id(self) -> str:
        """The id that the entry point printed last on stdout; with a server, `mlflow run` adds links behind it."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("run ")]
        return lines[-1].removeprefix("run ")

    def errors(self) -> str:
        """The lines of the step's own error message."""
        return self.stderr[self.stderr.rfind("Error: ") :].split("\n20")[0]


@dataclass(frozen=True)
class Workplace:
    """An otherwise empty folder with a store, from which runs are started."""

    folder: Path

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.store, registry_uri=self.store)

    def run(self, entry_point: str = "main", uri: str | Path = ROOT, env_manager: str = "local", version: str = "",
            env: dict[str, str] | None = None, experiment: str = "", **params: object) -> Result:  # fmt: skip
        """`mlflow run URI -e ENTRY_POINT -P name=value ...` from this folder."""
        command = mlflow_run(entry_point, uri, env_manager, version, experiment, **params)
        return finished(command, self.folder, environment(env))

    @contextlib.contextmanager
    def started(self, log: Path, entry_point: str = "main", uri: str | Path = ROOT,
                env: dict[str, str] | None = None, experiment: str = "",
                **params: object) -> Iterator[subprocess.Popen]:  # fmt: skip
        """The same under way in a session of its own, which is ended afterwards; what it says goes to `log`."""
        log.unlink(missing_ok=True)
        with background(mlflow_run(entry_point, uri, experiment=experiment, **params), log, environment(env),
                        self.folder) as running:  # fmt: skip
            yield running

    def step(self, name: str, project: Path = ROOT, **params: object) -> Result:
        """A step of `project` by itself, without the seconds that `mlflow run` takes before it, on this store."""
        command = [sys.executable, "-m", f"steps.{name}"]
        for option, value in params.items():
            command += [f"--{option.replace('_', '-')}", str(value)]
        return finished(command, project, environment({"MLFLOW_TRACKING_URI": self.store}))


def mlflow_run(entry_point: str = "main", uri: str | Path = ROOT, env_manager: str = "local", version: str = "",
               experiment: str = "", **params: object) -> list[str]:  # fmt: skip
    """The command line of `mlflow run URI -e ENTRY_POINT -P name=value ...`."""
    command = [str(LAUNCHER), "run", str(uri), "-e", entry_point, "--env-manager", env_manager]
    command += ["-v", version] if version else []
    command += ["--experiment-name", experiment] if experiment else []
    return command + [word for name, value in params.items() for word in ("-P", f"{name}={value}")]


def finished(command: list[str], folder: Path, variables: dict[str, str]) -> Result:
    """`command`, run in `folder` to its end."""
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=1200, check=False)
    assert not (own := OWN_WARNING.findall(done.stderr)), own
    return Result(done.returncode, done.stdout, done.stderr)


def copied(folder: Path) -> Path:
    """This project as it stands, what git would not commit left out, in `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """The user's environment without anything that points MLflow elsewhere; the launcher's folder first on PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = os.pathsep.join([str(LAUNCHER.parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONWARNINGS": "default", **(more or {})}


def workplace(folder: Path, migrated_store: Path, artifacts: str = "") -> Workplace:
    """A folder with an empty store whose artifacts lie beside it, as where a user starts, or at the URI `artifacts`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated_store, folder / "mlflow.db")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = ?", [artifacts or f"{folder}/mlruns/0"])
    return Workplace(folder)
