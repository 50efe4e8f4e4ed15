"""The environment a step was started in: whole, or made whole before anything of it is imported.

MLflow takes an environment whose folder is there for a whole one: also one that somebody is still installing into, or
whose building was killed. So this looks, once for each environment, whether what the lock pins is there, file by
file, and from the lock's own wheels, not as conda packages it; waits for who installs, installs what lacks, and
compiles all of it. It needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
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
from provenance.bootstrap.installed_files import CERTIFICATES, altered, compiled, package_folders
from provenance.bootstrap.project import ROOT
from provenance.record.packages import normal

LOCK = Path(ROOT, "requirements.lock")
BY_MLFLOW = re.compile(r"mlflow-[0-9a-f]{40}")  # how it names an environment, whichever manager makes it
WHOLE = "whole"  # a file in the environment: it was seen to lack nothing
CONDA_LEAVES = "condaenv.*.requirements.txt"  # beside conda.yaml, while conda has pip install
NOT_IMPORTED = r"/(site-packages|dist-packages|test|tests|idlelib|lib2to3|turtledemo)/"  # of the standard library
LEFT_SECONDS = 3600.0  # after which such a file is left over, where running processes cannot be seen


def ensure_environment() -> None:
    """Return when this interpreter's environment is whole, or is none that MLflow built; start again once completed.

    Exits with what, where, what next when it cannot be completed.
    """
    remove_left_by_conda()
    environment = Path(sys.prefix)
    if not BY_MLFLOW.fullmatch(environment.name) or is_ready(environment):
        return
    with holding_lock(lock_of(environment), f"builds the environment {environment}"):
        if is_ready(environment):
            start_again()
        lacked = [] if (environment / WHOLE).exists() else complete(environment)
        if lacked or not compiled():
            compile_environment()
    if lacked:
        start_again()


def is_ready(environment: Path) -> bool:
    """Whether the environment was seen to lack nothing, and is compiled."""
    return (environment / WHOLE).exists() and compiled()


def complete(environment: Path) -> list[str]:
    """Install what the environment lacks, and mark it as whole; what it lacked. Exits where it cannot be installed."""
    with holding_lock(environment / ".lock", f"installs into the environment {environment}"):  # uv's own
        lacks = missing_packages()
    error = install(environment, lacks)
    if error is None and (still := absent()):
        error = f"{some(still)} still lacking"
    if error is None:
        with contextlib.suppress(OSError):  # another user's: then it is looked at each time
            (environment / WHOLE).touch()
    elif lacks:
        sys.exit(f"Error: {environment} lacks {some(lacks)} and cannot be completed: {error[-2000:]}\n"
                 " Delete that folder and run again.")  # fmt: skip
    return lacks


def compile_environment() -> None:
    """Check and compile all that is installed, and Python's own modules; bytecode that is not of its source goes."""
    altered(package_folders(), cure=True)
    compile_standard_library()


def compile_standard_library(folder: str = os.path.dirname(os.__file__)) -> None:
    """Compile Python's own modules once: uv fetches a Python whose are not.

    Side by side it is done twice, at worst; where nobody may write, not at all.
    """
    some_module = os.path.join(folder, "argparse.py")
    if os.path.exists(importlib.util.cache_from_source(some_module)) or not os.access(folder, os.W_OK):
        return
    print(f"compiling, once, Python's standard library in {folder}", file=sys.stderr, flush=True)
    command = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "0", "-x", NOT_IMPORTED, folder]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_again() -> None:
    """Start this command again: modules imported so far were looked up before the packages existed."""
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
    """Packages that the lock pins for every platform and that are not installed."""
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

    Scripts and certificates are judged by their presence: the ones name the interpreter's folder, to the others a
    company adds its own authority.
    """
    try:
        if (info / "INSTALLER").read_text().strip() == "conda":
            return False  # the lock's hash was never compared
    except OSError:
        pass
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as file:
            return all(
                os.stat(info.parent / name).st_size == int(size)
                or name.startswith("../")
                or name.endswith(CERTIFICATES)
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
    """What `command` wrote to stderr if it failed, else None."""
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
    """The first three names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
