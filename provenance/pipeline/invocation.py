"""How the user started the step: the process and the folder of `mlflow run`. The step itself has another folder."""

import os
from pathlib import Path

SHELLS = ("bash", "sh", "dash")


def launcher_pid() -> int:
    """The id of the process that started this step. The shell that `mlflow run` puts in between is skipped.

    Raises OSError if there is no /proc.
    """
    pid = os.getppid()
    while _is_launched_shell(pid):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
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


def user_path(text: str) -> Path:
    """A path that the user gave. A relative path is relative to the folder in which `mlflow run` was started."""
    return launcher_folder() / os.path.expanduser(text)  # leaves "~unknown_user" as it is and raises nothing
