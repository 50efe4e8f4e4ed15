"""SHA-256 of files, of folders and of plain values."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from provenance.record.problem import Problem, ProblemKind

# Json: a value to write as JSON. JsonObject: a JSON object that was read. Its fields have any type, because a stranger
# may have written it.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Any]

SHA256 = re.compile(r"[0-9a-f]{64}")


class DigestError(ValueError):
    """A folder or a listing has no safe digest: a link leads out of it, or it has a device or an unprintable name."""


@dataclass(frozen=True)
class Listing:
    """The files of one folder.

    digest: SHA-256, hex, of the paths and contents of all files that are not volatile.
    files: path relative to the folder, with "/" -> (size in bytes, SHA-256 hex). Empty folders are ignored.
    volatile: the paths of files that differ from run to run, such as times and hosts.
    """

    digest: str
    files: dict[str, tuple[int, str]]
    volatile: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    def to_dict(self) -> dict[str, Json]:
        """Plain values, for JSON."""
        return {
            "digest": self.digest,
            "files": {path: list(entry) for path, entry in sorted(self.files.items())},
            "volatile": list(self.volatile),
        }

    @classmethod
    def from_dict(cls, value: JsonObject) -> Listing:
        """Read what `to_dict` returned. Raises DigestError if it is malformed or its digest does not fit its files."""
        try:
            files = {path: (size, sha256) for path, (size, sha256) in value["files"].items()}
            volatile = tuple(value["volatile"])
            sound = set(volatile) <= set(files) and all(
                type(size) is int and size >= 0 and isinstance(sha256, str) and SHA256.fullmatch(sha256)
                for size, sha256 in files.values()
            )
            digest = value["digest"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DigestError(f"Not a listing of files ({error!r}). It was altered; make the artifact again.") from None
        for path in files:
            check_name(path, "A listing of files")
        if not sound or digest != _digest(files, volatile):
            raise DigestError(
                "A listing of files does not have its own digest. It was altered; make the artifact again."
            )
        return cls(digest, files, volatile)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, hex. Raises DigestError if the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DigestError(f"{path} cannot be read ({error.strerror}). Make it readable, or make it again.") from None


def digest_json(value: Json) -> str:
    """SHA-256, hex, of a plain value as canonical JSON: keys are sorted, tuples become lists.

    Raises ValueError for NaN and infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def list_tree(folder: str | os.PathLike[str], volatile: Iterable[str] = ()) -> Listing:
    """List and hash all files below `folder`.

    volatile: paths or patterns ("logs/*"; "*" also matches "/") of files that are listed but are not in the digest.
    Raises DigestError for links out of the folder, links to folders, devices and unprintable names.
    """
    volatile = tuple(volatile)
    files = {path: (status.st_size, sha256_file(file)) for path, file, status in _walk(Path(folder))}
    left_out = tuple(sorted(path for path in files if any(fnmatchcase(path, pattern) for pattern in volatile)))
    return Listing(_digest(files, left_out), files, left_out)


def list_file(name: str, size: int, sha256: str) -> Listing:
    """The listing of one file whose SHA-256 is known."""
    return Listing(_digest({name: (size, sha256)}, ()), {name: (size, sha256)})


def digest_files(files: Mapping[str, tuple[int, str]]) -> str:
    """The digest of files, given as path -> (size in bytes, SHA-256 hex). Equals `search.trial.files_digest`."""
    return _digest(files, ())


def verify(folder: str | os.PathLike[str], listing: Listing, deep: bool = True) -> list[Problem]:
    """How `folder` differs from `listing`. The list is empty if nothing differs.

    deep: whether to compare content; otherwise only names and sizes.
    Only files that are in the folder are opened. A path from the listing is never opened.
    """
    try:
        found = {path: (file, status) for path, file, status in _walk(Path(folder))}
        problems = [Problem(ProblemKind.MISSING, path) for path in sorted(listing.files.keys() - found.keys())]
        for path, (file, status) in sorted(found.items()):
            if path not in listing.files:
                problems.append(Problem(ProblemKind.EXTRA, path))
                continue
            size, sha256 = listing.files[path]
            if status.st_size != size:
                kind = ProblemKind.TRUNCATED if status.st_size < size else ProblemKind.GROWN
                problems.append(Problem(kind, path, size, status.st_size))
            elif deep and (now := sha256_file(file)) != sha256:
                problems.append(Problem(ProblemKind.ALTERED, path, sha256, now))
    except DigestError as error:
        return [Problem(ProblemKind.UNREADABLE, detail=str(error))]
    return problems


def check_name(path: str, where: str) -> None:
    """Raise DigestError unless `path` is a printable relative path with "/" and without "." or "..".

    where: what contains the path, for the message.
    """
    parts = path.split("/") if isinstance(path, str) else []
    bad = not parts or any(part in ("", ".", "..") for part in parts) or "\\" in path
    if bad or not path.isprintable():
        raise DigestError(f"{where} holds the name {path!r}, which is no plain relative path. Rename or remove it.")


def _digest(files: Mapping[str, tuple[int, str]], volatile: Iterable[str]) -> str:
    left_out = set(volatile)
    lines = (f"{sha256}  {path}\n" for path, (_, sha256) in sorted(files.items()) if path not in left_out)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield (path inside `folder`, file, its stat) in any order. Raises DigestError."""
    if not folder.is_dir():
        raise DigestError(f"{folder} is no folder (or is missing), so it has no files to list.")
    home = folder.resolve()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            entries = list(os.scandir(here))
        except OSError as error:
            raise DigestError(
                f"{here} cannot be read ({error.strerror}). Make it readable, or make it again."
            ) from None
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(folder).as_posix()
            check_name(name, str(folder))
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                yield name, path, _status(path, home)


def _status(path: Path, home: Path) -> os.stat_result:
    """The stat of `path`. Raises DigestError unless it is a regular file inside `home`, or a link to one."""
    try:
        status, real = path.stat(), path.resolve(strict=True)
    except (OSError, RuntimeError):  # a link to nothing, or to itself
        raise DigestError(f"{path} is a link to nothing. Put the file itself there.") from None
    if not real.is_relative_to(home):
        raise DigestError(f"{path} is a link out of its folder. Put the file itself there.")
    if not stat.S_ISREG(status.st_mode):
        raise DigestError(
            f"{path} is no regular file (a device, or a link to a folder). Put the files themselves there."
        )
    return status
