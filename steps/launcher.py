"""Where the user stood: the folder in which `mlflow run` was started, which is not the step's own."""

import os
from pathlib import Path

SHELLS = ("bash", "sh", "dash")  # `mlflow run` starts a step through one


def launcher_folder() -> Path:
    """Working folder of the process that started this step; this one's where that cannot be seen (no /proc)."""
    pid = os.getppid()
    try:
        while Path(os.readlink(f"/proc/{pid}/exe")).name in SHELLS:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return Path.cwd()


def given_path(text: str) -> Path:
    """A path as its user meant it: relative to where `mlflow run` was started."""
    return launcher_folder() / Path(text).expanduser()
