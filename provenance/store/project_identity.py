"""The identity of the project of a run: the name in MLproject, the repository, and the folder in it.

A tracking store contains runs of many projects, also of forks of this one. The tag `names.PROJECT` holds the identity
and is written with a run's first tags. Only runs with the identity of this project may be ended, changed or deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from functools import cache
from pathlib import Path
from urllib.parse import quote

from mlflow.entities import Run

from provenance.git.command import CodeSourceError, git
from provenance.git.remote import clean_remote
from provenance.git.remote import identity as repository
from provenance.record import names

LENGTH = 500  # characters of an identity; a longer one is cut and gets its digest, as stores cut long tags
_NAME = re.compile(r"(?m)^name:[ \t]*(\S+)")
_PLAIN = "/:.@+~ ()-_"  # what needs no escape; the quotes of MLflow's filters do


def is_ours(run: Run, project: str) -> bool:
    """Whether `run` has the tag of `project`."""
    return run.data.tags.get(names.PROJECT) == project


def project_of(run: Run | None, root: Path) -> str:
    """The identity of a step that works on `run`: what its launcher wrote there, else that of the project in `root`."""
    written = run.data.tags.get(names.PROJECT) if run else None
    return written or identity(root)


@cache
def identity(root: Path) -> str:
    """The identity of the project in folder `root`, the same in every clone of one repository.

    Of a repository without a remote, or a plain folder: that of the folder on this machine.
    """
    remote, folder = _remote(root)
    host, path = repository(remote) if remote else ("", os.path.realpath(root))
    text = f"{project_name(root) or 'unnamed'} of {host or socket.gethostname() + ':'}/{path.lstrip('/')}"
    text = quote(f"{text} folder {folder}" if folder else text, safe=_PLAIN)
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 65]} {hashlib.sha256(text.encode()).hexdigest()}"


def project_name(root: Path) -> str | None:
    """`name` of the MLproject in `root`; None where there is none to read."""
    try:
        with (root / "MLproject").open(errors="replace") as file:
            match = _NAME.search(file.read(10_000))
    except OSError:
        return None
    return match[1] if match else None


def _remote(root: Path) -> tuple[str | None, str]:
    """`origin`'s URL, else the first remote's, and the folder of `root` in its repository; None without a remote."""
    try:
        remotes = git("remote", cwd=root).decode().split()
        if not remotes or not git("ls-files", "-z", "--", "MLproject", cwd=root):  # inside a repository, not of it
            return None, ""
        name = "origin" if "origin" in remotes else remotes[0]
        url = git("remote", "get-url", "--", name, cwd=root).decode().strip()
        top, prefix = os.fsdecode(git("rev-parse", "--show-toplevel", "--show-prefix", cwd=root)).split("\n")[:2]
    except (CodeSourceError, UnicodeDecodeError):  # no git, no repository, or one that git will not read
        return None, ""
    remote = clean_remote(url, Path(top))
    return remote, prefix.strip("/") if remote else ""
