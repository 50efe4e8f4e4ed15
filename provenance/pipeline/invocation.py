"""How the user started the step: the process, folder and command of `mlflow run`. The step itself has another folder.

Every command that is shown is made here: in a message as this user starts one, on a page for anybody who reads it.
"""

import getopt
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("bash", "sh", "dash")
OWN_LAUNCHER = ".venv/bin/mlflow"  # of `make setup`, seen from the project's folder
# What `mlflow run` takes, for getopt, which must know which options have a value.
SHORT = "e:v:P:A:b:c:"
LONG = ["entry-point=", "version=", "param-list=", "docker-args=", "experiment-name=", "experiment-id=", "backend=",
        "backend-config=", "env-manager=", "storage-dir=", "run-id=", "run-name=", "build-image",
        "skip-image-build"]  # fmt: skip
EXPERIMENT = ("--experiment-name", "--experiment-id")
KEPT = ("-v", "--version", "--env-manager", *EXPERIMENT)  # options that the next command needs, too


@dataclass(frozen=True)
class Invocation:
    """The start of the user's `mlflow run`: what a command has to begin with to reach the same project and store."""

    program: str  # .venv/bin/mlflow, mlflow or a path
    uri: str = "."
    options: tuple[tuple[str, str], ...] = ()  # those of KEPT

    def command(self, entry_point: str, params: Mapping[str, str], experiment: str | None = None) -> str:
        """A command line for a shell.

        experiment: its name, or "" for MLflow's default; None for the one that was given.
        """
        options = [item for item in self.options if experiment is None or item[0] not in EXPERIMENT]
        options += [("--experiment-name", experiment)] if experiment else []
        options += [("-P", f"{name}={value}") for name, value in params.items()]
        words = [word for item in [("-e", entry_point), *options] for word in item]
        return shlex.join([self.program, "run", self.uri, *words])


def launcher_pid() -> int:
    """The id of the process that started this step. The shell that `mlflow run` puts in between is skipped.

    Raises OSError if there is no /proc.
    """
    pid = os.getppid()
    while _is_launched_shell(pid):
        pid = _parent(pid)
    return pid


def launcher_folder() -> Path:
    """The working folder of the process that started this step, or of this process if there is no /proc."""
    try:
        return Path(os.readlink(f"/proc/{launcher_pid()}/cwd"))
    except OSError:
        return Path.cwd()


def launched_by() -> str:
    """The MLflow that started this step, such as "MLflow 3.10.1 (/its/bin/mlflow)"; "" if it cannot be found out."""
    try:
        python, script, *_ = Path(f"/proc/{launcher_pid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return ""
    packages = Path(python).parent.parent.glob("lib/python*/site-packages/mlflow-*.dist-info")
    if Path(script).name != "mlflow" or not (found := next(packages, None)):
        return ""
    return f"MLflow {found.name.removeprefix('mlflow-').removesuffix('.dist-info')} ({script})"


def _is_launched_shell(pid: int) -> bool:
    """Whether the process is a ``bash -c ...``, as `mlflow run` starts one. An interactive shell is not."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return Path(os.readlink(f"/proc/{pid}/exe")).name in SHELLS and words[1:2] == [b"-c"]


def invocation() -> Invocation:
    """The user's own `mlflow run`, also from within a step that another step started.

    Where it cannot be known (no /proc, or the step was started without MLflow): the launcher of `make setup`, if there
    is one.
    """
    from provenance.git.command import without_credentials

    try:
        pid, (script, _, *words) = _typed()
        options, given = getopt.gnu_getopt(words, SHORT, LONG)
        kept = tuple((name, value) for name, value in options if name in KEPT)
        return Invocation(_program(pid, script), without_credentials(given[0]), kept)
    except (OSError, ValueError, IndexError, getopt.GetoptError):
        return Invocation(OWN_LAUNCHER if Path(OWN_LAUNCHER).is_file() else "mlflow")


def for_others(entry_point: str, params: Mapping[str, str]) -> str:
    """A command for a page that others read, too: it names no folder of this user, and needs `make setup` alone."""
    return Invocation(OWN_LAUNCHER).command(entry_point, params)


def python_program() -> str:
    """The Python beside the user's launcher, or the step's own: one that can run a module of this project."""
    program = Path(invocation().program)
    return str(program.with_name("python")) if len(program.parts) > 1 else sys.executable


def _typed() -> tuple[int, list[str]]:
    """The id and words (`mlflow`, `run`, ...) of the nearest `mlflow run` above this process.

    Raises OSError or ValueError if there is none.
    """
    pid = os.getppid()
    while pid > 1:
        _, *words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        if len(words) > 1 and Path(words[0]).name == "mlflow" and words[1] == "run":
            return pid, words
        pid = _parent(pid)
    raise ValueError("no process above this one is `mlflow run`")


def _program(pid: int, script: str) -> str:
    """How to type the program `script` of process `pid`: a relative path as it was, a program on PATH by its name."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    path = next((text.removeprefix("PATH=") for text in variables if text.startswith("PATH=")), os.defpath)
    return Path(script).name if shutil.which(Path(script).name, path=path) == script else script


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def user_path(text: str) -> Path:
    """A path that the user gave. A relative path is relative to the folder in which `mlflow run` was started."""
    return launcher_folder() / os.path.expanduser(text)  # leaves "~unknown_user" as it is and raises nothing
