"""A folder of a git repository, and the difference between its files on disk and its commit.

The difference is made in a repository of its own that borrows the objects of the user's: the user's index,
attributes, filters and configuration neither change it nor are changed. Part of it are changes of tracked files and
those untracked files that the caller says the code reads. Not part of it: other untracked files, ignored ones, files
named as those of passwords and keys, empty folders, and what lies in submodules or repositories inside the folder.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provenance.git.command import CodeSourceError, GitError, git
from provenance.git.secret_scan import secret_name

SIZE = 10_000_000  # bytes of changed files, and of a patch that is made here: more is data, no code
UNTRACKED_SIZE = 1_000_000  # bytes of untracked files in a patch
INVISIBLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")  # letters that macOS leaves out of names


@dataclass(frozen=True)
class Checkout:
    """A folder of a repository that has a commit. Paths are absolute.

    top: the work tree's top; prefix: `root` inside it, "" or "a/b/"; objects: git's store; tree: the commit's, hex.
    """

    root: Path
    top: Path
    prefix: str
    objects: Path
    commit: str
    tree: str

    @classmethod
    def of(cls, root: str | Path) -> Checkout | None:
        """The checkout that `root` is part of; None for a plain folder or a repository without commits.

        Raises CodeSourceError when there is a repository that git cannot or will not read: damaged, another user's.
        """
        root = Path(root).resolve()
        try:
            where = git("rev-parse", "--show-toplevel", "--show-prefix", "--git-path", "objects", cwd=root)
        except CodeSourceError as error:
            there = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
            if there is None:
                return None
            if not isinstance(error, GitError) or error.foreign:  # it says itself what to do
                raise
            raise CodeSourceError(
                f"{error}\n {there / '.git'} cannot be read as a repository. Mend it, or run from a copy of the folder "
                "without it: such runs record no commit."
            ) from None
        top, prefix, objects = os.fsdecode(where).split("\n")[:3]
        try:
            commit, tree = git("rev-parse", "HEAD^{commit}", "HEAD^{tree}", cwd=root).decode().split()
        except GitError:  # no commit yet
            return None
        return cls(root, Path(top), prefix, (root / objects).resolve(), commit, tree)


@dataclass(frozen=True)
class Scratch:
    """A repository in a temporary folder whose index starts as the commit of a checkout."""

    folder: Path
    objects: Path  # where new objects are written

    @property
    def index(self) -> dict[str, str]:
        """The variable by which git uses this repository's index."""
        return {"GIT_INDEX_FILE": str(self.folder / "index")}

    def run(self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        """Run one git command in this repository, without the user's configuration."""
        variables = {"GIT_DIR": str(self.folder), "GIT_OBJECT_DIRECTORY": str(self.objects), **self.index}
        return git(*arguments, cwd=cwd or self.folder, own_config=False, variables=variables, stdin=stdin)

    def difference(self, tree: str, *form: str) -> bytes:
        """From `tree` to the index, in full: renames are a removal and an addition."""
        return self.run("diff-index", "--cached", "--no-renames", *form, tree)


@contextmanager
def scratch(checkout: Checkout, keep: bool = False) -> Iterator[Scratch]:
    """A Scratch for `checkout`; keep=True writes new objects into the checkout's own store."""
    with tempfile.TemporaryDirectory(prefix="checkout-") as name:
        folder = Path(name)
        sha256 = ["--object-format=sha256"] if len(checkout.tree) == 64 else []
        git("init", "-q", "--bare", "--template=", *sha256, name, cwd=folder, own_config=False)
        (folder / "objects" / "info").mkdir(exist_ok=True)
        (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(checkout.objects) + b"\n")
        made = Scratch(folder, checkout.objects if keep else folder / "objects")
        made.run("read-tree", checkout.tree)
        yield made


@dataclass(frozen=True)
class Listing:
    """Paths from the top, below the root, that may differ from the commit. `tracked`: also what is staged for it."""

    tracked: frozenset[bytes]
    untracked: frozenset[bytes]
    same: frozenset[bytes]  # as in the commit


@dataclass(frozen=True)
class Snapshot:
    """The difference of a work tree from its commit, as it is recorded.

    patch: b"" when there is none. tree: git's id of what it gives. files: (path, bytes), None for a removed file.
    left_out: path -> why it is not in the patch, of changed tracked files and of files that the code reads.
    """

    patch: bytes
    tree: str
    files: tuple[tuple[str, int | None], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def listing(checkout: Checkout) -> Listing:
    """What may differ from the commit, now."""
    with scratch(checkout) as made:
        return candidates(checkout, made)


def snapshot(checkout: Checkout, listed: Listing, reads: Iterable[str]) -> Snapshot:
    """The difference from the commit; `reads`: files that the code reads, from the root, "/" between their parts.

    Raises CodeSourceError for files too large for a patch, or with names that a patch may not have.
    """
    paths, left_out = _chosen(checkout, listed, reads)
    if not paths:
        return Snapshot(b"", checkout.tree, left_out=left_out)
    with scratch(checkout) as made:
        entries, sizes = _entries(checkout, made, paths, listed.untracked)
        made.run("update-index", "-z", "--index-info", stdin=b"".join(entries))
        tree = made.run("write-tree").decode().strip()
        patch = made.difference(checkout.tree, "-p", "--binary", "--full-index")
        if len(patch) > SIZE:
            raise CodeSourceError(
                f"The uncommitted changes make a patch of {readable_size(len(patch))}, of which at most "
                f"{readable_size(SIZE)} are kept with a run. Commit them."
            )
        changed = made.difference(checkout.tree, "--name-only", "-z").split(b"\0")
        files = tuple((os.fsdecode(path), sizes.get(path)) for path in changed if path)
        return Snapshot(patch, tree, files, left_out)


def candidates(checkout: Checkout, made: Scratch) -> Listing:
    """Paths from the top, below the root, that may differ from the commit."""
    # Asked with an index made from the commit: what the user has staged, or told git not to look at, hides nothing.
    # Not by diff-files: in a new index it names every file, whereas diff looks into those whose times it cannot know.
    here, places = partial(git, cwd=checkout.root, variables=made.index), [".", *linked(checkout)]
    changed = here("diff", "--name-only", "-z", "--no-relative", "--no-ext-diff", "--ignore-submodules", "--", *places)
    others = here("ls-files", "-z", "--others", "--exclude-standard", "--full-name", "--", *places)
    staged = git("ls-files", "-z", "--cached", "--full-name", "--", *places, cwd=checkout.root)  # also what is ignored
    known = _paths(made.run("ls-files", "-z"))
    tracked = _paths(changed) | (_paths(staged) - known)
    return Listing(tracked, _paths(others) - tracked - known, known - tracked)


def linked(checkout: Checkout) -> list[str]:
    """What links in the root lead to elsewhere in the work tree, such as an engine that several projects share."""
    targets = {Path(os.path.realpath(entry)) for entry in os.scandir(checkout.root) if entry.is_symlink()}
    return sorted(
        str(target)
        for target in targets
        if target.exists() and target.is_relative_to(checkout.top) and not target.is_relative_to(checkout.root)
        # git neither looks into itself nor, from here, into a repository inside this one
        and not any((folder / ".git").exists() for folder in (target, *target.parents)
                    if folder.is_relative_to(checkout.top) and folder != checkout.top)
        and ".git" not in target.relative_to(checkout.top).parts
    )  # fmt: skip


def _paths(output: bytes) -> frozenset[bytes]:
    return frozenset(path for path in output.split(b"\0") if path and not path.endswith(b"/"))  # "/": a repository


def _chosen(
    checkout: Checkout, listed: Listing, reads: Iterable[str]
) -> tuple[list[bytes], tuple[tuple[str, str], ...]]:
    """(paths of the snapshot, what is left out of it and why), both sorted."""
    top = os.fsencode(checkout.top)
    there = [path for name in reads if os.path.lexists(os.path.join(top, path := os.fsencode(checkout.prefix + name)))]
    real = {path: os.path.relpath(os.path.realpath(os.path.join(top, path)), os.path.realpath(top)) for path in there}
    wanted = {*there, *real.values()}

    def is_read(path: bytes) -> bool:
        """Also a link on the way to a file that is read."""
        if path in wanted or not os.path.islink(os.path.join(top, path)):
            return path in wanted
        target = os.path.relpath(os.path.realpath(os.path.join(top, path)), os.path.realpath(top))
        return any(name == target or name.startswith(target + b"/") for name in wanted)

    paths = listed.tracked | {path for path in listed.untracked if is_read(path)}
    left_out = {path: "its name is that of a file of passwords or keys" for path in paths if _secret(path)}
    in_git = listed.tracked | listed.untracked | listed.same
    for path in there:
        if path not in in_git and real[path] not in in_git:
            left_out[path] = "git ignores it, or it is not of this repository"
    return sorted(paths - left_out.keys()), tuple((shown(path), why) for path, why in sorted(left_out.items()))


def _secret(path: bytes) -> bool:
    return secret_name(path.decode("utf-8", "replace"))


def readable_size(size: int) -> str:
    """Bytes, for a person: "12 bytes", "1.2 kB", "10 MB"."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e6:.3g} MB" if size >= 999_950 else f"{size / 1e3:.1f} kB"


def check_path(path: bytes) -> None:
    """Raise CodeSourceError unless `path` is a plain path inside a work tree, on this and on other file systems."""
    for part in path.split(b"/"):
        # What Windows and macOS take for .git: case, trailing dots and spaces, streams, short names, invisible letters.
        name = INVISIBLE.sub("", os.fsdecode(part)).lower()
        if not name.strip(". ") or re.fullmatch(r"\.git|git~\d+", name.split(":")[0].rstrip(". ")):
            raise CodeSourceError(
                f"The path {shown(path)} leads out of the tree or into .git. It is refused: rename it."
            )
    if b"\\" in path or any(byte < 32 or byte == 127 for byte in path):
        raise CodeSourceError(
            f"The path {shown(path)} has a backslash or control characters. It is refused: rename it."
        )


def shown(path: bytes) -> str:
    """For a person: what is not printable is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]


def _entries(checkout: Checkout, made: Scratch, paths: list[bytes],
             untracked: frozenset[bytes]) -> tuple[list[bytes], dict[bytes, int]]:  # fmt: skip
    """A line for `git update-index` per path, as it is on disk, removals first; and the bytes of each file there is."""
    gone, links, files, sizes = [], [], [], {}
    for path in paths:
        check_path(path)
        file = os.path.join(os.fsencode(checkout.top), path)
        try:
            status = os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            gone.append(path)
            continue
        if stat.S_ISLNK(status.st_mode):
            blob = made.run("hash-object", "-w", "--stdin", stdin=os.readlink(file)).strip()
            links.append((b"120000", blob, path))
        elif stat.S_ISREG(status.st_mode):
            files.append((b"100755" if status.st_mode & stat.S_IXUSR else b"100644", path))
        else:
            gone.append(path)
            continue
        sizes[path] = status.st_size
        _check_sizes(path, sizes, untracked)
    blobs = []
    if files:
        names = b"".join(b"./" + path + b"\n" for _, path in files)  # "./": a leading quote would be unquoted
        blobs = made.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names, cwd=checkout.top).split()
    present = links + [(mode, blob, path) for (mode, path), blob in zip(files, blobs, strict=True)]
    removals = [b"0 " + b"0" * len(checkout.tree) + b"\t" + path + b"\0" for path in gone]
    return removals + [mode + b" " + blob + b"\t" + path + b"\0" for mode, blob, path in present], sizes


def _check_sizes(path: bytes, sizes: dict[bytes, int], untracked: frozenset[bytes]) -> None:
    """Raise CodeSourceError when the files so far, of which `path` is the last, are too much for a patch."""
    for size, most, what in (
        (sum(sizes.values()), SIZE, "changed files"),
        (sum(sizes[name] for name in sizes.keys() & untracked), UNTRACKED_SIZE, "files that git does not know"),
    ):
        if size > most:
            raise CodeSourceError(
                f"{shown(path)}: {what} of {readable_size(size)}, of which at most {readable_size(most)} are kept with "
                "a run. Commit the code, and keep data out of the repository, or name it in .gitignore."
            )
