"""Scratch folders that are deleted after their process, even after kill -9: the next process deletes them then."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "lock"  # locked while the owner of the folder lives; the kernel unlocks it when the process ends in any way


@contextmanager
def scratch_folder(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """An empty folder in `place` (default: the system's temporary folder), which is deleted after the block.

    Folders with this prefix whose process has ended are deleted first.
    """
    _clear(prefix, place or Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=f"{prefix}-", dir=place) as folder,
        tempfile.NamedTemporaryFile(dir=folder, delete=False) as lock,
    ):
        with suppress(OSError):  # a file system without locks: then the folder has no lock and is never deleted early
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.replace(lock.name, Path(folder, LOCK))  # the name appears only after the file is locked
        content = Path(folder, "content")
        content.mkdir()
        yield content


def _clear(prefix: str, place: Path) -> None:
    for lock in place.glob(f"{glob.escape(prefix)}-*/{LOCK}"):
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue  # the owner lives, or the folder belongs to another user or was just deleted
