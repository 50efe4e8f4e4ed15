"""The environment a step was started in: whole, or made whole before anything of it is imported.

MLflow takes an environment whose folder is there for a whole one: also one that somebody is still installing into, or
whose building was killed. So this looks, once for each environment, whether what the lock pins is there, file by
file; waits for who installs, and installs what lacks. It needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tracking.once import held, lock_of

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
BY_MLFLOW = re.compile(r"mlflow-[0-9a-f]{40}")  # how it names an environment, whichever manager makes it
WHOLE = "whole"  # a file in the environment: it was seen to lack nothing


def ensure() -> None:
    """Return when this interpreter's environment is whole, or is none that MLflow built; start again once completed.

    Exits with what, where, what next when it cannot be completed.
    """
    environment = Path(sys.prefix)
    if not BY_MLFLOW.fullmatch(environment.name) or (environment / WHOLE).exists():
        return
    with held(lock_of(environment), f"builds the environment {environment}"):
        if (environment / WHOLE).exists():
            start_again()
        with held(environment / ".lock", f"installs into the environment {environment}"):  # uv's own
            lacks = lacking()
        done = install(environment, lacks)
        if done.returncode == 0 and not lacking():
            with contextlib.suppress(OSError):  # of somebody else's: looked at each time, then
                (environment / WHOLE).touch()
        elif lacks:
            reason = done.stderr.strip() or f"{some(lacking())} still lacking"
            sys.exit(f"Error: {environment} lacks {some(lacks)} and cannot be completed: {reason[-2000:]}\n"
                     " Delete that folder and run again.")  # fmt: skip
    if lacks:
        start_again()


def start_again() -> None:
    """This same command from its beginning: what this process has looked up so far, it saw in an empty room."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def lacking() -> list[str]:
    """Packages that the lock pins for every platform and that are not here, and those some of whose files are not."""
    here: dict[str, bool] = {}
    for folder in (path for path in sys.path if path.startswith(sys.prefix)):
        for info in Path(folder).glob("*.dist-info"):
            here.setdefault(normal(info.name.partition("-")[0]), intact(info))
    pinned = [normal(name) for name in re.findall(r"(?m)^([A-Za-z0-9][\w.-]*)==[^;\n]+$", LOCK.read_text())]
    return sorted({*(name for name in pinned if name not in here), *(name for name in here if not here[name])})


def intact(info: Path) -> bool:
    """Whether every file of a package's RECORD is there in its recorded size."""
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as file:
            return all(
                os.stat(info.parent / name).st_size == int(size)
                for name, digest, size, *_ in csv.reader(file)
                if digest and size  # compiled code and RECORD itself have none
            )
    except (OSError, ValueError):
        return False


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def install(environment: Path, lacks: list[str]) -> subprocess.CompletedProcess:
    """Let the environment's own installer see that all of the lock is there: it alone reads each platform's lines."""
    if lacks:
        print(f"completing the environment {environment}, which lacks {some(lacks)}", file=sys.stderr, flush=True)
    config = environment / "pyvenv.cfg"
    if config.is_file() and "\nuv = " in config.read_text() and (uv := shutil.which("uv")):
        again = [word for name in lacks for word in ("--reinstall-package", name)]
        command = [uv, "pip", "install", "--python", sys.executable, *again]
    else:
        command = [sys.executable, "-m", "pip", "install", *(["--force-reinstall", "--no-deps"] if lacks else [])]
    return subprocess.run([*command, "--quiet", "-r", LOCK.name], cwd=LOCK.parent, stderr=subprocess.PIPE, text=True)


def some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
