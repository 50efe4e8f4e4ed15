"""Two people who share a tracking server and nothing else: each has a HOME, a clone and a folder to start from."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import repository
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import LAUNCHER, Result, Workplace, copied, environment, mlflow_run

UV_CACHE = Path("~/.cache/uv").expanduser()  # downloads, not environments: an empty HOME stays one


@dataclass(frozen=True)
class Colleague:
    """Who runs things from a clone `project`, with a HOME that nobody else uses."""

    home: Path
    project: Path
    server: str

    def run(self, entry_point: str, env_manager: str = "local", uri: str | Path | None = None,
            env: dict[str, str] | None = None, **params: object) -> Result:  # fmt: skip
        """`mlflow run` from a folder of one's own, against the server."""
        return Workplace(self._desk).run(
            entry_point, uri or self.project, env_manager, env=self._variables(env), **params
        )

    def start(self, entry_point: str, **params: object) -> subprocess.Popen:
        """The same without waiting, in a process group of its own."""
        command = mlflow_run(entry_point, self.project, **params)
        return subprocess.Popen(command, cwd=self._desk, env=environment(self._variables()), start_new_session=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    @property
    def _desk(self) -> Path:
        desk = self.home / "desk"
        desk.mkdir(exist_ok=True)
        return desk

    def _variables(self, more: dict[str, str] | None = None) -> dict[str, str]:
        mine = {"HOME": str(self.home), "MLFLOW_TRACKING_URI": self.server}
        mine |= {"UV_CACHE_DIR": str(UV_CACHE), "UV_COMPILE_BYTECODE": "1"}
        return {name: value for name, value in {**mine, **(more or {})}.items() if value}


def checkout(folder: Path) -> Path:
    """This project as it stands, as one commit of a repository of its own."""
    repository.commit(copied(folder))
    return folder


def colleague(folder: Path, origin: str | Path, server: str) -> Colleague:
    """A newcomer: an empty HOME and a fresh clone of `origin`."""
    (folder / "home").mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(folder / "project")], check=True)
    return Colleague(folder / "home", folder / "project", server)


@contextlib.contextmanager
def tracking_server(folder: Path, migrated_store: Path) -> Iterator[str]:
    """The URL of an `mlflow server` on loopback that hands artifacts through, its store and files in `folder`."""
    folder.mkdir(parents=True)
    shutil.copy(migrated_store, folder / "mlflow.db")
    with sqlite3.connect(folder / "mlflow.db") as database:  # as a server that made the store has it
        database.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
    port = free_port()
    command = [str(LAUNCHER), "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with background([*command, "--workers", "2"], folder / "log", environment(), folder) as server:
        wait_for_answer(f"{url}/health", folder / "log", server)
        yield url
