"""Where the code of a run came from: commit, remote, branch, and the patch that makes the tree out of the commit.

The other packages use git through this module alone; it uses checkout.py, patch.py, remote.py, fetch.py, command.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from provenance.git.checkout import Checkout, Listing, listing, readable_size, shown, snapshot
from provenance.git.command import CodeSourceError, GitError, GitMissing, git
from provenance.git.fetch import fetch, published
from provenance.git.patch import apply_patch, patch_summary
from provenance.git.remote import check_commit, check_remote, clean_remote, same_repository
from provenance.git.secret_scan import scan_patch
from provenance.record.digest import JsonObject

__all__ = [
    "Captured",
    "CodeSourceError",
    "Source",
    "WorkTree",
    "apply_patch",
    "check_commit",
    "check_remote",
    "clean_remote",
    "code_diff",
    "fetch",
    "make_patch",
    "own_remote",
    "patch_summary",
    "published",
    "read",
    "same_repository",
]

DIFF_LINES = 200  # of a difference that is shown
SHOWN = 20  # lines of an error that name places
# Read by `mlflow run` and by every step, whatever the step's own code reads.
ALWAYS_READ = ("MLproject", "conda.yaml", "requirements.lock")


@dataclass(frozen=True)
class Source:
    """What is recorded of a checkout. A plain folder has no commit, and nothing else but a note.

    remote: URL without credentials, or a path. branch: None when HEAD is detached. folder: the project inside the
    repository, "" at its top. patch: SHA-256 of Captured.patch when dirty. tree: git's id of the patched tree.
    note: why there is no commit although there is a repository, or what the code read and the patch may not hold.
    """

    commit: str | None = None
    remote: str | None = None
    branch: str | None = None
    folder: str | None = None
    dirty: bool = False
    patch: str | None = None
    tree: str | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, str | bool | None]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: JsonObject) -> Source:
        """Read what `to_dict` gave; checks types, not whom to trust. Raises CodeSourceError."""
        try:
            given = {field.name: value[field.name] for field in fields(cls)}
        except (KeyError, TypeError) as error:
            raise CodeSourceError(f"Not a source record ({error!r}): altered, or written by another version.") from None
        dirty = given.pop("dirty")
        if not isinstance(dirty, bool) or any(not isinstance(text, str | None) for text in given.values()):
            raise CodeSourceError("Not a source record (a field is no text): altered, or written by another version.")
        return cls(dirty=dirty, **given)


@dataclass(frozen=True)
class Captured:
    """What is recorded of a checkout, and the patch itself.

    files: (path, bytes) of what the patch changes, None for a removed file. left_out: path -> why it is not in there.
    """

    source: Source
    patch: bytes = b""
    files: tuple[tuple[str, int | None], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """What goes up with the patch and what does not, a line for each file."""
        sizes = ((path, "removed" if size is None else readable_size(size)) for path, size in self.files)
        return [f"{shown(path.encode('utf-8', 'surrogateescape'))} ({size})" for path, size in sizes]

    def check_secrets(self) -> None:
        """Raise CodeSourceError when a line of the patch looks like a secret.

        Takes seconds for a patch of megabytes.
        """
        paths = [path.encode("utf-8", "replace").decode() for path, _ in self.files]
        try:
            found = scan_patch(self.patch, paths)
        except ModuleNotFoundError as error:
            raise CodeSourceError(
                f"the uncommitted changes cannot be searched for secrets ({error}), and are not sent without\n"
                " Commit them, or run in the environment that conda.yaml pins: --env-manager uv (or conda)."
            ) from error
        if found:
            where = [f"{item.path}, line {item.line}" if item.line else item.path for item in found]
            raise CodeSourceError("\n".join([
                "the uncommitted changes look as if they held a secret, and would be kept with the run:",
                *(f"  {place}: {item.kind}" for place, item in zip(where[:SHOWN], found[:SHOWN], strict=True)),
                *([f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []),
                " Move it out of the code, e.g. into a variable of the environment. If it is none, commit the change, "
                "or end its line with the comment: pragma: allowlist secret"]))  # fmt: skip


class WorkTree:
    """The project in `root`, which may be a subfolder of a repository or of none, as it is when it is first asked."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._snapshots: dict[frozenset[str], Captured] = {}
        self._looked: tuple[str | None, str | None, Listing] | None = None

    def captured(self, reads: Iterable[str]) -> Captured:
        """What is recorded for code that reads the files `reads`, named from the root.

        Raises CodeSourceError for a repository that git cannot or will not read, and when the tree is dirty with what
        no patch can hold: see checkout.snapshot.
        """
        wanted = frozenset(reads) | frozenset(ALWAYS_READ)
        if wanted not in self._snapshots:
            self._snapshots[wanted] = self._captured(wanted)
        return self._snapshots[wanted]

    def _captured(self, reads: frozenset[str]) -> Captured:
        checkout = self._found
        if not isinstance(checkout, Checkout):
            return Captured(Source(note=checkout))
        branch, remote, listed = self._state(checkout)
        found = snapshot(checkout, listed, reads)
        read = {checkout.prefix + name for name in reads}
        left_out = [f"{path} ({why})" for path, why in found.left_out if path in read]
        source = Source(
            commit=checkout.commit,
            remote=remote,
            branch=branch,
            folder=checkout.prefix.rstrip("/"),
            dirty=bool(found.patch),
            patch=hashlib.sha256(found.patch).hexdigest() if found.patch else None,
            tree=found.tree,
            note=f"not in the patch, although the code reads it: {', '.join(left_out)}" if left_out else None,
        )
        return Captured(source, found.patch, found.files, found.left_out)

    @cached_property
    def _found(self) -> Checkout | str | None:
        """The checkout, or why there is none although it looks like one: without git nothing more can be known."""
        try:
            found = Checkout.of(self.root)
        except GitMissing as error:
            return str(error)
        # A folder inside a repository that has none of its files is not of that repository.
        return found if found and git("ls-files", "-z", "--", ".", cwd=found.root) else None

    def _state(self, checkout: Checkout) -> tuple[str | None, str | None, Listing]:
        """The branch, its remote, and what may differ from the commit, as they are when first asked for."""
        if self._looked is None:
            branch = _branch(checkout)
            self._looked = branch, _remote(checkout, branch), listing(checkout)
        return self._looked


def read(root: str | Path, reads: Iterable[str] = ()) -> Source:
    """What is recorded of the project in `root`, whose code reads the files `reads`: see WorkTree."""
    return WorkTree(root).captured(reads).source


def make_patch(root: str | Path, reads: Iterable[str] = ()) -> bytes:
    """The difference of the tree from its commit, as `read` records it; b"" for a clean tree or a plain folder."""
    return WorkTree(root).captured(reads).patch


def code_diff(root: Path, a: Source, b: Source, paths: Iterable[str]) -> str:
    """How the files `paths` differ between two recorded commits, as git shows it; "" where `root` has not got both."""
    wanted = [*paths]
    if not wanted or not a.commit or not b.commit:
        return ""
    try:
        commits = [check_commit(a.commit), check_commit(b.commit)]
        text = git("diff", "--no-ext-diff", "--no-textconv", "--relative", *commits, "--", *wanted, cwd=root)
    except CodeSourceError:
        return ""
    return "\n".join(text.decode("utf-8", "replace").splitlines()[:DIFF_LINES])


def own_remote(checkout: Checkout) -> str | None:
    """The remote that a run of this checkout would record."""
    return _remote(checkout, _branch(checkout))


def _branch(checkout: Checkout) -> str | None:
    try:
        return _text(git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=checkout.root))
    except GitError:
        return None


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
