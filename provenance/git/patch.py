"""Patches of other people's trees: what one would do, and restoring exactly that tree on a clone of the commit.

Hostile until checked. A patch is applied to an index first, by git, where every path, mode and link is looked at as
git understood it; only then are files written, here, and never through a link.
"""

from __future__ import annotations

import os
import re
import tempfile
from functools import partial
from pathlib import Path

from provenance.git.checkout import Checkout, Scratch, candidates, check_path, scratch, shown
from provenance.git.command import CodeSourceError, git

SIZE = 200_000_000  # bytes of a patch, also unpacked, that are taken: runs of earlier versions have larger ones
FILE, PROGRAM, LINK, GONE = b"100644", b"100755", b"120000", b"000000"  # git's modes; 160000 is a submodule
_BINARY = re.compile(rb"^(?:literal|delta) (\d{1,18})\s*$", re.MULTILINE)
_SUMMARY = re.compile(rb" (create|delete|mode change)(?: mode)? (\d{6}) (?:=> (\d{6}) )?(.*)")


def patch_summary(patch: bytes) -> list[tuple[str, str, int | None, int | None]]:
    """(path, change, lines added, lines removed), sorted; lines are None for binary files.

    change: "added", "deleted", "modified", "replaced" (a file by a link, or back) or "mode 100644 => 100755".
    Asked of git, which is what would apply it; nothing is applied. Raises CodeSourceError.
    """
    _check_size(patch)
    if not patch:
        return []
    with tempfile.TemporaryDirectory() as folder:
        variables = {"GIT_CEILING_DIRECTORIES": str(Path(folder).parent)}
        alone = partial(git, stdin=patch, cwd=folder, own_config=False, variables=variables)
        numbers = alone("apply", "--numstat", "-z", "-")
        words = alone("apply", "--summary", "-")
    lines: dict[bytes, tuple[int | None, int | None]] = {}
    for record in numbers.split(b"\0")[:-1]:
        added, removed, path = record.split(b"\t", 2)
        check_path(path)
        before = lines.get(path, (0, 0))  # a replaced file comes twice
        lines[path] = _plus(before[0], added), _plus(before[1], removed)
    changes = dict.fromkeys(lines, "modified")
    for line in words.splitlines():
        match = _SUMMARY.fullmatch(line)
        if not match:
            raise CodeSourceError(
                f"The patch says {shown(line)!r}, which no patch of a run does. Get the run's own patch."
            )
        what, mode, to, path = match.groups()
        if mode not in (FILE, PROGRAM, LINK) or to not in (None, FILE, PROGRAM):
            raise CodeSourceError(
                f"The patch has {shown(path)} as a submodule or device. It is refused: get one without."
            )
        change = f"mode {mode.decode()} => {to.decode()}" if to else {b"create": "added", b"delete": "deleted"}[what]
        changes[path] = change if changes[path] == "modified" else "replaced"
    return [(shown(path), changes[path], *lines[path]) for path in sorted(lines)]


def _plus(lines: int | None, more: bytes) -> int | None:
    """A sum of numbers of lines, of which git writes "-" for a binary file."""
    return None if more == b"-" or lines is None else lines + int(more)


def apply_patch(folder: str | Path, patch: bytes) -> str:
    """Turn `folder`, the top of a clean clone of the commit, into the tree the patch was made from; gives its git id.

    Raises CodeSourceError, with nothing written, for paths out of the clone or into .git, links that point outside,
    submodules, and for a patch that does not fit the commit.
    """
    _check_size(patch)
    checkout = Checkout.of(folder)
    if not checkout or checkout.prefix:
        raise CodeSourceError(f"{folder} is not the top of a clone with a commit. Fetch the commit there first.")
    with scratch(checkout, keep=True) as made:
        here = candidates(checkout, made)
        if here.tracked or here.untracked:
            raise CodeSourceError(f"{folder} has changes of its own. Apply a patch to a fresh clone.")
        if not patch:
            return checkout.tree
        made.run("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch)
        tree = made.run("write-tree").decode().strip()
        changes = _changes(made, checkout)
    for path, mode, content in sorted(changes, key=lambda change: change[1] != GONE):  # a file may become a folder
        _write(checkout.top, path, mode, content)
    git("read-tree", tree, cwd=checkout.top)
    git(
        "update-index", "-q", "--refresh", cwd=checkout.top, own_config=False
    )  # the patch may ask for the user's filters
    return tree


def _changes(made: Scratch, checkout: Checkout) -> list[tuple[bytes, bytes, bytes]]:
    """(path, mode, content) of all that the index has otherwise than the commit, each checked."""
    records = made.difference(checkout.tree, "--raw", "-z", "--no-abbrev").split(b"\0")
    changes = []
    for head, path in zip(records[0:-1:2], records[1::2], strict=True):
        before, mode, _, blob, _ = head.lstrip(b":").split(b" ")
        if {before, mode} - {FILE, PROGRAM, LINK, GONE}:
            raise CodeSourceError(f"The patch has {shown(path)} as a submodule. It is refused: get one without.")
        check_path(path)
        _check_folder(checkout.top, path)
        content = made.run("cat-file", "blob", blob.decode()) if mode != GONE else b""
        if mode == LINK:
            _check_link(path, content)
        changes.append((path, mode, content))
    return changes


def _check_folder(top: Path, path: bytes) -> None:
    """Raise CodeSourceError when a folder on the way to `path` is a link."""
    folder = os.path.join(os.fsencode(top), os.path.dirname(path)).rstrip(b"/")
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if os.path.realpath(folder) != folder:
        raise CodeSourceError(f"The patch writes {shown(path)} through a link. It is refused: get one without.")


def _check_link(path: bytes, target: bytes) -> None:
    """Raise CodeSourceError unless the link stays inside: some "..", no more than it is deep, then plain names."""
    parts = [part for part in target.rstrip(b"/").split(b"/") if part != b"."]
    up = next((depth for depth, part in enumerate(parts) if part != b".."), len(parts))
    if not target or target.startswith(b"/") or up > path.count(b"/"):
        raise CodeSourceError(f"The patch links {shown(path)} to {shown(target)!r}, outside the tree. It is refused.")
    if parts[up:]:
        check_path(b"/".join(parts[up:]))


def _write(top: Path, path: bytes, mode: bytes, content: bytes) -> None:
    home = os.fsencode(top)
    file = os.path.join(home, path)
    folder = os.path.dirname(file)
    if os.path.lexists(file):
        os.unlink(file)
    if mode == GONE:
        while folder != home and not os.listdir(folder):
            os.rmdir(folder)
            folder = os.path.dirname(folder)
        return
    os.makedirs(folder, exist_ok=True)
    if mode == LINK:
        os.symlink(content, file)
        return
    rights = 0o777 if mode == PROGRAM else 0o666  # less the user's umask
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, rights), "wb") as out:
        out.write(content)


def _check_size(patch: bytes) -> None:
    size = max(len(patch), sum(int(number) for number in _BINARY.findall(patch)))
    if size > SIZE:
        raise CodeSourceError(f"The patch holds {size:,} bytes; at most {SIZE:,} are taken. Get the run's own patch.")
