"""A folder of a git repository, and the difference between its files on disk and its commit.

The difference is made in a repository of its own that borrows the objects of the user's: the user's index,
attributes, filters and configuration neither change it nor are changed. Not part of it: ignored files, empty
folders, and what lies in submodules or in repositories inside the folder.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tracking.git import GitError, SourceError, git

SIZE = 200_000_000  # bytes of changed files, and of a patch: more is data, which belongs into .gitignore
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

        Raises SourceError when there is a repository that git cannot or will not read.
        """
        root = Path(root).resolve()
        try:
            where = git("rev-parse", "--show-toplevel", "--show-prefix", "--git-path", "objects", cwd=root)
        except SourceError:
            if any((folder / ".git").exists() for folder in (root, *root.parents)):
                raise
            return None
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
        return {"GIT_INDEX_FILE": str(self.folder / "index")}

    def run(self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        """One git command here, with nobody's configuration."""
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


def make_patch(root: str | Path) -> bytes:
    """Tracked changes below `root` and untracked files that are not ignored; b"" for a clean tree or a plain folder."""
    checkout = Checkout.of(root)
    return snapshot(checkout)[0] if checkout else b""


def snapshot(checkout: Checkout) -> tuple[bytes, str]:
    """(patch, tree): the difference from the commit, b"" when there is none, and git's id of the tree it gives.

    Raises SourceError for files too large for a patch, or with names that a patch may not have.
    """
    with scratch(checkout) as made:
        paths = candidates(checkout, made)
        if not paths:
            return b"", checkout.tree
        made.run("update-index", "-z", "--index-info", stdin=b"".join(_entries(checkout, made, paths)))
        tree = made.run("write-tree").decode().strip()
        return made.difference(checkout.tree, "-p", "--binary", "--full-index"), tree


def candidates(checkout: Checkout, made: Scratch) -> list[bytes]:
    """Paths from the top, below the root, that may differ from the commit, sorted."""
    # Asked with an index made from the commit: what the user has staged, or told git not to look at, hides nothing.
    # Not by diff-files: in a new index it names every file, whereas diff looks into those whose times it cannot know.
    here = {"cwd": checkout.root, "variables": made.index}
    changed = git(
        "diff", "--name-only", "-z", "--no-relative", "--no-ext-diff", "--ignore-submodules", "--", ".", **here
    )
    untracked = git("ls-files", "-z", "--others", "--exclude-standard", "--full-name", "--", ".", **here)
    staged = git("ls-files", "-z", "--cached", "--full-name", "--", ".", cwd=checkout.root)  # also what is ignored
    known = set(made.run("ls-files", "-z").split(b"\0"))
    paths = {*changed.split(b"\0"), *untracked.split(b"\0"), *staged.split(b"\0")} - (known - {*changed.split(b"\0")})
    return sorted(path for path in paths if path and not path.endswith(b"/"))  # "/": a repository inside this one


def check_path(path: bytes) -> None:
    """Raise SourceError unless `path` is a plain path inside a work tree, on this and on other file systems."""
    for part in path.split(b"/"):
        # What Windows and macOS take for .git: case, trailing dots and spaces, streams, short names, invisible letters.
        name = INVISIBLE.sub("", os.fsdecode(part)).lower()
        if not name.strip(". ") or re.fullmatch(r"\.git|git~\d+", name.split(":")[0].rstrip(". ")):
            raise SourceError(f"The path {shown(path)} leads out of the tree or into .git. It is refused: rename it.")
    if b"\\" in path or any(byte < 32 or byte == 127 for byte in path):
        raise SourceError(f"The path {shown(path)} has a backslash or control characters. It is refused: rename it.")


def shown(path: bytes) -> str:
    """For a person: what is not printable is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]


def _entries(checkout: Checkout, made: Scratch, paths: list[bytes]) -> list[bytes]:
    """A line for `git update-index` per path, as it is on disk; removals first."""
    gone, links, files, size = [], [], [], 0
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
            size += status.st_size
        else:
            gone.append(path)
        if size > SIZE:
            raise SourceError(
                f"{shown(path)}: changed and untracked files exceed {SIZE // 1_000_000} MB, too much for a patch. "
                "Commit the code, and name data in .gitignore."
            )
    blobs = []
    if files:
        names = b"".join(b"./" + path + b"\n" for _, path in files)  # "./": a leading quote would be unquoted
        blobs = made.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names, cwd=checkout.top).split()
    present = links + [(mode, blob, path) for (mode, path), blob in zip(files, blobs, strict=True)]
    removals = [b"0 " + b"0" * len(checkout.tree) + b"\t" + path + b"\0" for path in gone]
    return removals + [mode + b" " + blob + b"\t" + path + b"\0" for mode, blob, path in present]
