"""Where the code of a run came from: commit, remote, branch, and the patch that makes the tree out of the commit.

The rest of the project's one door to git; behind it are checkout.py, patch.py, remote.py, fetch.py and git.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tracking.checkout import Checkout, make_patch, snapshot
from tracking.fetch import fetch, published
from tracking.git import GitError, SourceError, git
from tracking.patch import apply_patch, patch_summary
from tracking.remote import check_commit, check_remote, clean_remote, same_repository

__all__ = [
    "Source",
    "SourceError",
    "apply_patch",
    "check_commit",
    "check_remote",
    "clean_remote",
    "fetch",
    "make_patch",
    "patch_summary",
    "published",
    "read",
    "same_repository",
]


@dataclass(frozen=True)
class Source:
    """What is recorded of a checkout. A plain folder has no commit, and nothing else but a note.

    remote: URL without credentials, or a path. branch: None when HEAD is detached. folder: the project inside the
    repository, "" at its top. patch: SHA-256 of make_patch's bytes when dirty. tree: git's id of the patched tree.
    note: why there is no commit although there is a repository.
    """

    commit: str | None = None
    remote: str | None = None
    branch: str | None = None
    folder: str | None = None
    dirty: bool = False
    patch: str | None = None
    tree: str | None = None
    note: str | None = None

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
    """The source of the project in `root`, which may be a subfolder of a repository, or no repository at all.

    Raises SourceError when the tree is dirty with what no patch can hold; see checkout.snapshot.
    """
    try:
        checkout = Checkout.of(root)
    except SourceError as error:  # no git here, or a repository that git will not read
        return Source(note=str(error))
    if checkout is None or not git("ls-files", "-z", "--", ".", cwd=checkout.root):  # inside a repository, not of it
        return Source()
    try:
        branch = _text(git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=checkout.root))
    except GitError:
        branch = None
    patch, tree = snapshot(checkout)
    return Source(
        commit=checkout.commit,
        remote=_remote(checkout, branch),
        branch=branch,
        folder=checkout.prefix.rstrip("/"),
        dirty=bool(patch),
        patch=hashlib.sha256(patch).hexdigest() if patch else None,
        tree=tree,
    )


def _remote(checkout: Checkout, branch: str | None) -> str | None:
    """The remote the branch follows, else origin, else the first."""
    names = _text(git("remote", cwd=checkout.top)).split()
    try:
        followed = _text(git("config", "--get", f"branch.{branch}.remote", cwd=checkout.top))
    except GitError:
        followed = ""
    for name in (followed, "origin", *names):
        if name in names:
            return clean_remote(_text(git("remote", "get-url", "--", name, cwd=checkout.top)), checkout.top)
    return None


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()
