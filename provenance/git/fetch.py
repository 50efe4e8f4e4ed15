"""Fetch one exact commit of a remote you trust, and ask whether that remote still publishes it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from provenance.git.command import CodeSourceError, GitError, git
from provenance.git.remote import check_commit, check_remote, clean_remote, split_remote, without_login

SECONDS = 1800  # for one fetch; a slower server is given up
_PLAIN = ("--no-tags", "--no-recurse-submodules", "--no-auto-gc", "-q")


def fetch(remote: str, commit: str, folder: str | Path) -> Path:
    """Check out exactly `commit` of `remote` in `folder`, which must be new or empty, and is gone after an error.

    Also a commit that is no branch head any more, as long as the server still gives it. Runs no hook, asks nothing,
    takes no submodule, keeps no credential in the clone. `remote` is one you trust: see check_remote. It may be a
    git bundle. Raises CodeSourceError.
    """
    check_commit(commit)
    check_remote(remote, None)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CodeSourceError(f"{folder} is not empty. Give a new folder to fetch into.")
    try:
        _init(folder, commit)
        _get(remote, commit, folder)
        git("remote", "add", "--", "origin", without_login(remote, Path.cwd()), cwd=folder)
        git("-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit, "--", cwd=folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def published(remote: str, commit: str, clone: Path | None = None) -> bool:
    """Whether a branch or tag of `remote` contains `commit`.

    A hosting service may give by its id any commit of any fork of a repository: one that is not published was not
    necessarily ever accepted by the repository's owners. Asked are first the remote's branches and tags, by what
    `clone`, a repository of this machine, knows of their history; then the history, without its files where the
    server can. Raises CodeSourceError when the remote cannot be asked.
    """
    check_commit(commit)
    check_remote(remote, None)
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        folder = Path(name)
        _init(folder, commit, "--bare")
        tips = _tips(remote, folder)
        if commit in tips or (clone and reachable(clone, commit, tips)):
            return True
        where, _ = _spelled(remote, folder)
        if os.path.isdir(where):  # its own history, without a copy
            return on_branch(Path(where), commit, "refs/heads", "refs/tags")
        _from(remote, folder, "--filter=tree:0", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        return on_branch(folder, commit, "refs/heads", "refs/tags")


def on_branch(folder: Path, commit: str, *prefixes: str) -> bool:
    """Whether a ref below `prefixes` ("refs/heads") of the repository in `folder` contains `commit`."""
    try:
        return bool(git("for-each-ref", "--count=1", f"--contains={commit}", *prefixes, cwd=folder))
    except GitError:  # no such commit
        return False


def reachable(folder: Path, commit: str, tips: Iterable[str]) -> bool:
    """Whether `commit` is one of `tips` (ids of commits or tags) or an ancestor, by the history in `folder`."""
    asked = "\n".join([commit, *(f"^{tip}" for tip in tips)]) + "\n"
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}", cwd=folder)  # else it would be passed over, too
        return not git("rev-list", "--ignore-missing", "--max-count=1", "--stdin", cwd=folder, stdin=asked.encode())
    except GitError:  # no such commit, or a tip that is none (a tag of a file)
        return False


def _tips(remote: str, folder: Path) -> set[str]:
    """The ids that the branches and tags of `remote` stand at."""
    where, variables = _spelled(remote, folder)
    listed = git("-c", "protocol.version=2", "ls-remote", "--heads", "--tags", "--", where,
                 cwd=folder, variables=variables, seconds=SECONDS)  # fmt: skip
    rows = (line.split("\t") for line in listed.decode("utf-8", "replace").splitlines())
    return {row[0] for row in rows if len(row) == 2 and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", row[0])}


def _get(remote: str, commit: str, folder: Path) -> None:
    """Bring the commit's objects into `folder`: alone when the server gives single commits, else with all there is."""
    reasons = []
    for wanted in (("--depth=1", commit), ("+refs/*:refs/fetched/*",), ("HEAD",)):  # HEAD: bundles without a branch
        try:
            _from(remote, folder, *wanted)
            git("cat-file", "-e", f"{commit}^{{commit}}", cwd=folder)
            return
        except GitError as error:
            reasons.append(str(error))
    raise CodeSourceError(
        f"Commit {commit} cannot be had from {clean_remote(remote)} ({reasons[0]}). "
        "Pass -P repo= with a repository that has it."
    )


def _init(folder: Path, commit: str, *options: str) -> None:
    sha256 = ["--object-format=sha256"] if len(commit) == 64 else []
    git("init", "-q", "--template=", *sha256, *options, cwd=folder)


def _from(remote: str, folder: Path, *wanted: str) -> None:
    """git fetch; the last words of `wanted` are refs, those with "--" options."""
    where, variables = _spelled(remote, folder)
    options = [word for word in wanted if word.startswith("--")]
    refs = [word for word in wanted if not word.startswith("--")]
    git("-c", "protocol.version=2", "fetch", *_PLAIN, *options, "--", where, *refs,
        cwd=folder, variables=variables, seconds=SECONDS)  # fmt: skip


def _spelled(remote: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The remote as git is given it in `folder`, and the variables that go with it."""
    scheme, _, _, path = split_remote(remote)
    if scheme == "file":
        return os.path.abspath(os.path.expanduser(path)), {}
    return remote, _quiet_ssh(folder) if scheme == "ssh" else {}


def _quiet_ssh(folder: Path) -> dict[str, str]:
    """An ssh that asks nothing, unless the user says how to run it."""
    if "GIT_SSH" in os.environ or "GIT_SSH_COMMAND" in os.environ:
        return {}
    try:
        git("config", "--get", "core.sshCommand", cwd=folder)
    except GitError:
        return {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    return {}
