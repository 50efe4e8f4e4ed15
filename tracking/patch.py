"""The difference between a checkout and its commit, as bytes that restore exactly that tree on a clone.

A patch is made from the files as they are on disk: the user's index, attributes, filters and configuration neither
change it nor are changed by it. It is applied to an index first, where every path and mode is checked; only then are
files written. Ignored files, empty folders and what lies in submodules or nested repositories are not part of it.
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

from tracking.git import SourceError, git

MODES = {b"100644": stat.S_IFREG | 0o644, b"100755": stat.S_IFREG | 0o755, b"120000": stat.S_IFLNK}
GONE = b"000000"
SIZE = 200_000_000  # bytes of changed files, and of a patch: more is data, which belongs into .gitignore
_DIFF = ("diff-index", "--cached", "--no-renames")
_BINARY = re.compile(rb"^(?:literal|delta) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """A folder of a repository that has a commit: where git keeps its things. Paths are absolute.

    top: the work tree's top; prefix: `root` inside it, "" or "a/b/"; tree: the commit's tree, hex.
    """

    root: Path
    top: Path
    prefix: str
    objects: Path
    tree: str

    @classmethod
    def of(cls, root: Path) -> Checkout | None:
        """The checkout `root` is in; None for a plain folder, a bare repository or one without commits."""
        try:
            where = git("rev-parse", "--show-toplevel", "--show-prefix", "--git-path", "objects", cwd=root)
            top, prefix, objects = os.fsdecode(where).split("\n")[:3]
            tree = git("rev-parse", "--verify", "--quiet", "HEAD^{tree}", cwd=root).decode().strip()
        except SourceError:
            return None
        return cls(root, Path(top), prefix, (root / objects).resolve(), tree)


def snapshot(checkout: Checkout) -> tuple[bytes, str]:
    """(patch, tree): the difference from the commit, b"" when there is none, and git's id of the tree it gives."""
    with _scratch(checkout) as scratch:
        paths = sorted(_candidates(checkout, scratch))
        if not paths:
            return b"", checkout.tree
        _store(checkout, scratch, paths)
        tree = scratch.run("write-tree").decode().strip()
        if tree == checkout.tree:
            return b"", tree
        return scratch.run(*_DIFF, "--binary", "--full-index", "-p", checkout.tree), tree


def make_patch(root: str | Path) -> bytes:
    """Tracked changes below `root` and untracked files that are not ignored; b"" for a clean tree or a plain folder."""
    checkout = Checkout.of(Path(root).resolve())
    return snapshot(checkout)[0] if checkout else b""


def patch_summary(patch: bytes) -> list[tuple[str, str, int | None, int | None]]:
    """(path, "added" | "deleted" | "modified" | "mode 100644 => 100755", lines added, lines removed) by path.

    Lines are None for binary files. What git itself would do, asked of git; nothing is applied.
    """
    _check_size(patch)
    if not patch:
        return []
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "cwd": folder,
            "own_config": False,
            "variables": {"GIT_CEILING_DIRECTORIES": str(Path(folder).parent)},
        }
        numbers = git("apply", "--numstat", "-z", "-", stdin=patch, **options)
        words = git("apply", "--summary", "-", stdin=patch, **options)
    rows = {}
    for record in numbers.split(b"\0")[:-1]:
        plus, minus, path = record.split(b"\t", 2)
        check_path(path)
        rows[path] = ["modified", *(None if text == b"-" else int(text) for text in (plus, minus))]
    for line in words.splitlines():
        what, mode, rest = re.fullmatch(rb" (create|delete|mode change|\w+)(?: mode)? (\d{6})? ?(.*)", line).groups()
        if what == b"mode change":
            to, path = re.fullmatch(rb"=> (\d{6}) (.*)", rest).groups()
            change = f"mode {mode.decode()} => {to.decode()}"
        elif what in (b"create", b"delete"):
            path, change = rest, {b"create": "added", b"delete": "deleted"}[what]
            if mode not in MODES:
                raise SourceError(
                    f"The patch has {_shown(path)} as a submodule, which is never applied. Get a patch without."
                )
        else:
            raise SourceError(
                "The patch renames or copies, which this project's patches never do. Get the run's own patch."
            )
        rows[path][0] = change
    return [(_shown(path), *row) for path, row in sorted(rows.items())]


def apply_patch(folder: str | Path, patch: bytes) -> str:
    """Turn `folder`, the top of a clean clone of the commit, into the tree the patch was made from; gives its git id.

    Hostile until checked: raises SourceError, with nothing written, for paths out of the clone or into .git, links
    that point outside, submodules, and for a patch that does not fit the commit.
    """
    _check_size(patch)
    checkout = Checkout.of(Path(folder).resolve())
    if not checkout or checkout.prefix:
        raise SourceError(f"{folder} is not the top of a clone with a commit. Fetch the commit there first.")
    with _scratch(checkout, keep_objects=True) as scratch:
        if _candidates(checkout, scratch):
            raise SourceError(f"{folder} has changes of its own. Apply a patch to a fresh clone.")
        if not patch:
            return checkout.tree
        scratch.run("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch)
        changes = list(_changes(scratch, checkout.tree))
        tree = scratch.run("write-tree").decode().strip()
        _check(checkout, changes)
        contents = [
            scratch.run("cat-file", "blob", blob.decode()) if mode != GONE else b"" for mode, blob, _ in changes
        ]
        for (mode, _, path), content in sorted(
            zip(changes, contents, strict=True), key=lambda change: change[0][0] != GONE
        ):
            _write(checkout.top, path, mode, content)
    git("read-tree", tree, cwd=checkout.top)
    git("update-index", "-q", "--refresh", cwd=checkout.top)
    return tree


def check_path(path: bytes) -> None:
    """Raise SourceError unless `path` is a plain path inside a work tree, on this and on other file systems."""
    for part in path.split(b"/"):
        # What Windows and macOS take for .git: case, trailing dots and spaces, streams, short names, invisible letters.
        visible = re.sub(r"[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]", "", os.fsdecode(part)).lower()
        plain = visible.split(":")[0].rstrip(". ")
        if part in (b"", b".", b"..") or plain in ("", ".git") or re.fullmatch(r"git~\d+", plain):
            raise SourceError(f"The path {_shown(path)} leads out of the tree or into .git. It is refused; rename it.")
    if b"\\" in path or any(byte < 32 or byte == 127 for byte in path):
        raise SourceError(f"The path {_shown(path)} has a backslash or control characters. It is refused; rename it.")


@dataclass(frozen=True)
class _Scratch:
    """A repository of its own in a temporary folder that borrows the checkout's objects."""

    folder: Path
    objects: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"GIT_INDEX_FILE": str(self.folder / "index"), "GIT_OBJECT_DIRECTORY": str(self.objects)}

    def run(self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        variables = self.variables | {"GIT_DIR": str(self.folder)}
        return git(*arguments, cwd=cwd or self.folder, own_config=False, variables=variables, stdin=stdin)


@contextmanager
def _scratch(checkout: Checkout, keep_objects: bool = False) -> Iterator[_Scratch]:
    """Its index holds the commit. keep_objects writes new objects into the checkout's own store."""
    with tempfile.TemporaryDirectory(prefix="patch-") as name:
        folder = Path(name)
        algorithm = "sha256" if len(checkout.tree) == 64 else "sha1"
        git("init", "-q", "--bare", "--template=", f"--object-format={algorithm}", name, cwd=folder, own_config=False)
        (folder / "objects" / "info").mkdir(exist_ok=True)
        (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(checkout.objects) + b"\n")
        scratch = _Scratch(folder, checkout.objects if keep_objects else folder / "objects")
        scratch.run("read-tree", checkout.tree)
        yield scratch


def _candidates(checkout: Checkout, scratch: _Scratch) -> set[bytes]:
    """Paths from the top, below the root, that may differ from the commit."""
    here = {"cwd": checkout.root, "variables": {"GIT_INDEX_FILE": str(scratch.folder / "index")}}
    top = os.fsencode(checkout.prefix)
    # Not diff-files: in a new index it names every file, whereas diff looks into those whose times it does not know.
    tracked = git(
        "diff", "--name-only", "-z", "--no-relative", "--no-ext-diff", "--ignore-submodules", "--", ".", **here
    )
    untracked = git("ls-files", "-z", "--others", "--exclude-standard", "--full-name", "--", ".", **here)
    forced = git("ls-files", "-z", "--cached", "--full-name", "--", ".", cwd=checkout.root)  # added although ignored
    known = set(scratch.run("ls-files", "-z").split(b"\0"))
    found = set(tracked.split(b"\0")) | set(untracked.split(b"\0")) | (set(forced.split(b"\0")) - known)
    return {path for path in found if path and path.startswith(top) and not path.endswith(b"/")}


def _store(checkout: Checkout, scratch: _Scratch, paths: list[bytes]) -> None:
    """Bring `paths` as they are on disk into the scratch index."""
    present, files, size = [], [], 0
    lines = []
    for path in paths:
        check_path(path)
        file = os.path.join(os.fsencode(checkout.top), path)
        try:
            status = os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is None or stat.S_ISDIR(status.st_mode):
            lines.append(b"0 " + b"0" * len(checkout.tree) + b"\t" + path)
        elif stat.S_ISLNK(status.st_mode):
            blob = scratch.run("hash-object", "-w", "--stdin", stdin=os.readlink(file)).strip()
            present.append((b"120000", blob, path))
        elif stat.S_ISREG(status.st_mode):
            size += status.st_size
            files.append((b"100755" if status.st_mode & stat.S_IXUSR else b"100644", path))
            if size > SIZE:
                raise SourceError(
                    f"{_shown(path)}: changed and untracked files exceed {SIZE // 1_000_000} MB, too much for a patch. "
                    "Commit the code, and name data in .gitignore."
                )
    if files:
        names = b"".join(b"./" + path + b"\n" for _, path in files)  # "./": a leading quote would be unquoted
        blobs = scratch.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names, cwd=checkout.top).split()
        present += [(mode, blob, path) for (mode, path), blob in zip(files, blobs, strict=True)]
    lines += [mode + b" " + blob + b"\t" + path for mode, blob, path in present]
    scratch.run("update-index", "-z", "--index-info", stdin=b"".join(line + b"\0" for line in lines))


def _changes(scratch: _Scratch, tree: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(new mode, new blob, path) of everything the index has otherwise than `tree`."""
    records = scratch.run(*_DIFF, "--raw", "-z", "--no-abbrev", tree).split(b"\0")
    for head, path in zip(records[0::2], records[1::2], strict=False):
        old_mode, mode, _, blob, _ = head.lstrip(b":").split(b" ")
        if {old_mode, mode} - MODES.keys() - {GONE}:
            raise SourceError(
                f"The patch has {_shown(path)} as a submodule, which is never applied. Get a patch without."
            )
        yield mode, blob, path


def _check(checkout: Checkout, changes: list[tuple[bytes, bytes, bytes]]) -> None:
    for mode, blob, path in changes:
        check_path(path)
        if mode == b"120000":
            target = git("cat-file", "blob", blob.decode(), cwd=checkout.top)
            parts = target.split(b"/")
            up = next((n for n, part in enumerate(parts) if part != b".."), len(parts))
            if target.startswith(b"/") or up > path.count(b"/"):
                raise SourceError(
                    f"The patch links {_shown(path)} to {_shown(target)}, outside the tree. It is refused."
                )
            if rest := b"/".join(parts[up:]):
                check_path(rest)


def _write(top: Path, path: bytes, mode: bytes, content: bytes) -> None:
    file = os.path.join(os.fsencode(top), path)
    if os.path.lexists(file) and not os.path.isdir(file):
        os.unlink(file)
    folder = os.path.dirname(file)
    if mode == GONE:
        while folder != os.fsencode(top) and not os.listdir(folder):
            os.rmdir(folder)
            folder = os.path.dirname(folder)
        return
    os.makedirs(folder, exist_ok=True)
    if os.path.realpath(folder) != folder:
        raise SourceError(f"The patch writes {_shown(path)} through a link. It is refused.")
    if mode == b"120000":
        os.symlink(content, file)
        return
    with open(file, "xb") as out:
        out.write(content)
    if mode == b"100755":
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(file, 0o777 & ~umask)


def _check_size(patch: bytes) -> None:
    size = max(len(patch), sum(int(number) for number in _BINARY.findall(patch)))
    if size > SIZE:
        raise SourceError(f"The patch holds {size:,} bytes; at most {SIZE:,} are applied. It is no patch of a run.")


def _shown(path: bytes) -> str:
    """For a person: letters that are not printable are escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]
