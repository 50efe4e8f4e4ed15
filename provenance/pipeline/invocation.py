"""Where the user stood: the folder in which `mlflow run` was started, which is not the step's own."""

import os
from pathlib import Path

SHELLS = ("bash", "sh", "dash")


def launcher_pid() -> int:
    """The process that started this step, past the shell that `mlflow run` puts between. Raises OSError (no /proc)."""
    pid = os.getppid()
    while _is_launched_shell(pid):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def launcher_folder() -> Path:
    """Working folder of the process that started this step; this one's where that cannot be seen (no /proc)."""
    try:
        return Path(os.readlink(f"/proc/{launcher_pid()}/cwd"))
    except OSError:
        return Path.cwd()


def launched_by() -> str:
    """ "MLflow 3.10.1 (/its/bin/mlflow)", whose `mlflow run` started this step; "" where that cannot be seen."""
    try:
        python, script, *_ = Path(f"/proc/{launcher_pid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return ""
    packages = Path(python).parent.parent.glob("lib/python*/site-packages/mlflow-*.dist-info")
    if Path(script).name != "mlflow" or not (found := next(packages, None)):
        return ""
    return f"MLflow {found.name.removeprefix('mlflow-').removesuffix('.dist-info')} ({script})"


def _is_launched_shell(pid: int) -> bool:
    """``bash -c ...``, as `mlflow run` starts a step; not an interactive shell."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return Path(os.readlink(f"/proc/{pid}/exe")).name in SHELLS and words[1:2] == [b"-c"]


def user_path(text: str) -> Path:
    """A path as its user meant it: relative to where `mlflow run` was started."""
    return launcher_folder() / os.path.expanduser(text)  # which leaves "~nobody" as it is, and raises nothing
