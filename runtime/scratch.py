"""Scratch folders that are gone after their process, also when kill -9 ended it: the next one to need one clears up."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "lock"  # held while the process that made the folder lives; the kernel lets go of it whatever ends the process


@contextmanager
def scratch_folder(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """An empty folder in `place` (the system's temporary one), gone after the block; those of dead owners go first."""
    _clear(prefix, place or Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=f"{prefix}-", dir=place) as folder,
        tempfile.NamedTemporaryFile(dir=folder, delete=False) as lock,
    ):
        with suppress(OSError):  # a file system without locks: nobody will take the folder for a dead one's
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.replace(lock.name, Path(folder, LOCK))  # there only once it is held
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
            continue  # its owner lives, or it is another user's, or just gone
