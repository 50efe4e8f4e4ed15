"""Small real git repositories for tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Nobody's configuration, one author, one date: the same commits everywhere.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2023-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "2023-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def run(folder: Path, *arguments: str) -> str:
    """git's output in `folder`; an error is the test's."""
    done = subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, check=True)
    return os.fsdecode(done.stdout).strip()


def write(folder: Path, files: dict[str, bytes | str]) -> None:
    """Each path its bytes; a str is the target of a link."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            file.symlink_to(content)
        else:
            file.write_bytes(content)


def commit(folder: Path, files: dict[str, bytes | str] | None = None) -> str:
    """Write and commit everything; the commit's id. Makes the repository, on branch main, when there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        run(folder, "init", "-q", "-b", "main")
    write(folder, files or {})
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "--allow-empty", "-m", "A change")
    return run(folder, "rev-parse", "HEAD")


def tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Path -> (kind, bytes) of every file and link but git's own; kind is "file", "program" or "link"."""
    found = {}
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git" and not os.path.islink(os.path.join(base, name))]
        links = [name for name in os.listdir(base) if os.path.islink(os.path.join(base, name))]
        for name in {*files, *links} - {".git"}:
            file = os.path.join(base, name)
            path = os.path.relpath(file, folder)
            if os.path.islink(file):
                found[path] = ("link", os.fsencode(os.readlink(file)))
            else:
                kind = "program" if os.stat(file).st_mode & 0o100 else "file"
                found[path] = (kind, Path(file).read_bytes())
    return found


def owned_by_another(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have git, from a stand-in in `folder` first on PATH, take every repository for one of another user."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "git"
    program.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
