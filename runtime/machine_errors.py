"""Recognize errors of the machine, such as a full disk or too little memory, even if a library wraps them."""

import errno
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

AGAIN = "and run again: what is finished is reused."


@dataclass(frozen=True)
class MachineErrorKind:
    """A kind of error: its error numbers, the words that libraries use for it, and the remedy."""

    name: str
    numbers: tuple[int, ...]
    words: re.Pattern[str]
    remedy: str


_KINDS = (
    MachineErrorKind(
        "no space left",
        (errno.ENOSPC, errno.EDQUOT),
        # Words of the system, git, sqlite, XGBoost and numpy. numpy only says that it wrote too little.
        re.compile(
            r"no space left on device|disk quota exceeded|out of diskspace|database or disk is full|"
            r"FileStream.Write incomplete|\d requested and \d+ written",
            re.IGNORECASE,
        ),
        f"Make room there, or set TMPDIR to another folder for what is temporary, {AGAIN}",
    ),
    MachineErrorKind(
        "the file system is read-only",
        (errno.EROFS,),
        re.compile(r"read-only file system|attempt to write a readonly database", re.IGNORECASE),
        f"Make it writable or choose another place, {AGAIN}",
    ),
    MachineErrorKind(
        "out of memory",
        (errno.ENOMEM,),
        re.compile(
            r"cannot allocate memory|bad.alloc|can't start new thread|unable to allocate|"
            r"failed to map segment from shared object",
            re.IGNORECASE,
        ),
        f"Give it more, or choose less data or fewer workers, {AGAIN}",
    ),
    MachineErrorKind(
        "the disk fails",
        (errno.EIO,),
        re.compile(r"input/output error|disk i/o error", re.IGNORECASE),
        f"Choose another place, {AGAIN}",
    ),
    MachineErrorKind(
        "no temporary folder can be written",
        (),
        re.compile("no usable temporary directory", re.IGNORECASE),
        f"Make room in one of them, or set TMPDIR to a folder that can be written, {AGAIN}",
    ),
    MachineErrorKind(
        "too many open files",
        (errno.EMFILE, errno.ENFILE),
        re.compile(r"too many open files", re.IGNORECASE),
        f"Raise the limit (ulimit -n) {AGAIN}",
    ),
)


def machine_error(error: BaseException) -> str | None:
    """The message for an error of the machine: what happened, where, and the remedy. None for any other error."""
    for link in exception_chain(error):
        for kind in _KINDS:
            if _is(kind, link):
                return f"{kind.name}{_where(link)}\n {kind.remedy}"
    return None


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on. With many libraries only a cause tells the reason."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is(kind: MachineErrorKind, error: BaseException) -> bool:
    numbered = isinstance(error, OSError) and error.errno in kind.numbers
    memory = isinstance(error, MemoryError) and errno.ENOMEM in kind.numbers
    return numbered or memory or bool(kind.words.search(str(error)))


def _where(error: BaseException) -> str:
    """The path in the error, or else the folder for temporary files, which is the most likely place."""
    if not isinstance(error, OSError):
        return ""
    name = error.filename2 or error.filename
    return f": {name}" if name else f" (temporary files go to {tempfile.tempdir})" if tempfile.tempdir else ""
