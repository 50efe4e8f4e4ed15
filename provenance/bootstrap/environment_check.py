"""The environment a step was started in: whole, or made whole before anything of it is imported.

MLflow takes an environment whose folder is there for a whole one: also one that somebody is still installing into, or
whose building was killed. So this looks, once for each environment, whether what the lock pins is there, file by
file, and from the lock's own wheels, not as conda packages it; waits for who installs, installs what lacks, and
compiles all of it. It needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from provenance.bootstrap.first_use_lock import holding_lock, lock_of
from provenance.bootstrap.installed_files import altered, checked, package_folders
from provenance.bootstrap.project import ROOT
from provenance.record.packages import normal

LOCK = Path(ROOT, "requirements.lock")
BY_MLFLOW = re.compile(r"mlflow-[0-9a-f]{40}")  # how it names an environment, whichever manager makes it
WHOLE = "whole"  # a file in the environment: it was seen to lack nothing
CONDA_LEAVES = "condaenv.*.requirements.txt"  # beside conda.yaml, while conda has pip install
LEFT_SECONDS = 3600.0  # after which such a file is left over, where running processes cannot be seen


def ensure_environment() -> None:
    """Return when this interpreter's environment is whole, or is none that MLflow built; start again once completed.

    Exits with what, where, what next when it cannot be completed.
    """
    remove_left_by_conda()
    environment = Path(sys.prefix)
    if not BY_MLFLOW.fullmatch(environment.name) or ((environment / WHOLE).exists() and checked()):
        return
    with holding_lock(lock_of(environment), f"builds the environment {environment}"):
        if (environment / WHOLE).exists() and checked():
            start_again()
        with holding_lock(environment / ".lock", f"installs into the environment {environment}"):  # uv's own
            lacks = missing_packages()
        error = install(environment, lacks)
        if error is None and (still := absent()):
            error = f"{some(still)} still lacking"
        if (lacks and error is None) or (not lacks and not checked()):
            altered(package_folders(), cure=True)
        if error is None:
            with contextlib.suppress(OSError):  # of somebody else's: looked at each time, then
                (environment / WHOLE).touch()
        elif lacks:
            sys.exit(f"Error: {environment} lacks {some(lacks)} and cannot be completed: {error[-2000:]}\n"
                     " Delete that folder and run again.")  # fmt: skip
    if lacks:
        start_again()


def start_again() -> None:
    """This same command from its beginning: what this process has looked up so far, it saw in an empty room."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def pinned() -> list[str]:
    """Normalised names of the packages that the lock pins for every platform."""
    return [normal(name) for name in re.findall(r"(?m)^([A-Za-z0-9][\w.-]*)==[^;\n]+$", LOCK.read_text())]


def infos() -> dict[str, Path]:
    """Normalised name -> .dist-info of each package in this environment."""
    here: dict[str, Path] = {}
    for folder in (path for path in sys.path if path.startswith(sys.prefix)):
        for info in sorted(Path(folder).glob("*.dist-info")):
            here.setdefault(normal(info.name.partition("-")[0]), info)
    return here


def absent() -> list[str]:
    here = infos()
    return sorted(name for name in pinned() if name not in here)


def missing_packages() -> list[str]:
    """Packages that the lock pins for every platform and that are not here as their wheels have them.

    What else is here, such as pip, is not judged: conda rewrites and removes files of what it packages.
    """
    here = infos()
    return sorted(name for name in pinned() if name not in here or not intact(here[name]))


def intact(info: Path) -> bool:
    """Whether every file of a package's RECORD is there in its recorded size, and conda did not package it.

    Scripts are judged by their presence: each names the interpreter's folder.
    """
    try:
        if (info / "INSTALLER").read_text().strip() == "conda":
            return False  # the lock's hash was never compared
    except OSError:
        pass
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as file:
            return all(
                os.stat(info.parent / name).st_size == int(size) or name.startswith("../")
                for name, digest, size, *_ in csv.reader(file)
                if digest and size  # compiled code and RECORD itself have none
            )
    except (OSError, ValueError):
        return False


def install(environment: Path, lacks: list[str]) -> str | None:
    """Install what lacks; what the installer says when it failed.

    Then the environment's own installer sees that all of the lock is there: it alone reads each platform's lines.
    """
    if lacks:
        print(f"completing the environment {environment}, which lacks {some(lacks)}", file=sys.stderr, flush=True)
    config = environment / "pyvenv.cfg"
    if config.is_file() and "\nuv = " in config.read_text() and (uv := shutil.which("uv")):
        again = [word for name in lacks for word in ("--reinstall-package", name)]
        return failure([uv, "pip", "install", "--python", sys.executable, *again, "--quiet", "-r", LOCK.name])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if lacks:
        for name, info in infos().items():
            if name in lacks and not (info / "RECORD").is_file():
                shutil.rmtree(info)  # which pip could not remove
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, LOCK.name)
            part.write_text(lock_of_packages(lacks))
            error = failure([*pip, "--force-reinstall", "--no-deps", "-r", str(part)])
        if error:
            return error
    return failure([*pip, "-r", LOCK.name])


def failure(command: list[str]) -> str | None:
    done = subprocess.run(command, cwd=LOCK.parent, stderr=subprocess.PIPE, text=True)
    return None if done.returncode == 0 else done.stderr.strip() or f"{command[0]} ended in {done.returncode}"


def lock_of_packages(names: Iterable[str]) -> str:
    """The lock's options, and its lines that pin `names`."""
    wanted, keep, lines = set(names), False, []
    for line in LOCK.read_text().splitlines(keepends=True):
        if line[:1].isalnum():
            keep = normal(re.split(r"[=\[ ]", line)[0]) in wanted
        elif line.startswith("-"):
            keep = True
        if keep:
            lines.append(line)
    return "".join(lines)


def remove_left_by_conda() -> None:
    """What a killed build leaves in the checkout, which git would take for a change."""
    for path in LOCK.parent.glob(CONDA_LEAVES):
        with contextlib.suppress(OSError):
            if not in_use(path):
                path.unlink()


def in_use(path: Path) -> bool:
    """Whether a process was told to read `path`, or it was written just now."""
    age = time.time() - path.stat().st_mtime
    processes = [entry for entry in Path("/proc").glob("[0-9]*")]
    if not processes:
        return age < LEFT_SECONDS
    for process in processes:
        with contextlib.suppress(OSError):
            if os.fsencode(path.name) in (process / "cmdline").read_bytes():
                return True
    return age < 60


def some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
