"""Where the code of a run came from: commit, remote, branch, and the patch that makes the tree out of the commit.

The one door to git for the rest of the project; the work is in patch.py, remote.py and git.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tracking.git import SourceError, git
from tracking.patch import Checkout, apply_patch, make_patch, patch_summary, snapshot
from tracking.remote import check_commit, check_remote, clean_remote, fetch

__all__ = [
    "Source",
    "SourceError",
    "apply_patch",
    "check_commit",
    "check_remote",
    "fetch",
    "make_patch",
    "patch_summary",
    "read",
]


@dataclass(frozen=True)
class Source:
    """What is recorded of a checkout. All but `dirty` are None for a plain folder.

    remote: URL without credentials, or a path. branch: None when HEAD is detached. folder: the project inside the
    repository, "" at its top. patch: SHA-256 of make_patch's bytes when dirty. tree: git's id of the patched tree.
    """

    commit: str | None = None
    remote: str | None = None
    branch: str | None = None
    folder: str | None = None
    dirty: bool = False
    patch: str | None = None
    tree: str | None = None

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping) -> Source:
        """Read what `to_dict` gave; checks types, not whom to trust. Raises SourceError."""
        try:
            given = {field.name: value[field.name] for field in fields(cls)}
        except (KeyError, TypeError) as error:
            raise SourceError(f"Not a source record ({error!r}): altered, or written by another version.") from None
        dirty = given.pop("dirty")
        if not isinstance(dirty, bool) or any(not isinstance(text, str | None) for text in given.values()):
            raise SourceError("Not a source record (a field is no text): altered, or written by another version.")
        return cls(dirty=dirty, **given)


def read(root: str | Path) -> Source:
    """The source of the project in `root`, which may be a subfolder of a repository, or no repository at all."""
    root = Path(root).resolve()
    checkout = Checkout.of(root)
    if checkout is None or not git("ls-files", "-z", "--", ".", cwd=root):  # inside a repository, but not of it
        return Source()
    commit = git("rev-parse", "--verify", "HEAD^{commit}", cwd=root).decode().strip()
    try:
        branch = os.fsdecode(git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=root)).strip()
    except SourceError:
        branch = None
    patch, tree = snapshot(checkout)
    return Source(
        commit=commit,
        remote=remote_of(checkout, branch),
        branch=branch,
        folder=checkout.prefix.rstrip("/"),
        dirty=bool(patch),
        patch=hashlib.sha256(patch).hexdigest() if patch else None,
        tree=tree,
    )


def remote_of(checkout: Checkout, branch: str | None) -> str | None:
    """The remote the branch follows, else origin, else the first; cleaned, relative paths made absolute."""
    names = os.fsdecode(git("remote", cwd=checkout.top)).split()
    try:
        followed = git("config", "--get", f"branch.{branch}.remote", cwd=checkout.top).decode().strip()
    except SourceError:
        followed = ""
    for name in (followed, "origin", *names):
        if name in names:
            url = os.fsdecode(git("remote", "get-url", "--", name, cwd=checkout.top)).strip()
            clean = clean_remote(url)
            return str((checkout.top / clean).resolve()) if clean and clean.startswith(".") else clean
    return None
