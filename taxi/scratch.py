"""Scratch folders that are gone after their process, also when kill -9 ended it: the next one to need one clears up."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"  # held while the process that made the folder lives; the kernel lets go of it whatever ends the process


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """An empty folder in the system's temporary place, removed after the block; folders of dead owners go first."""
    _clear(prefix)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-") as folder, tempfile.NamedTemporaryFile(delete=False) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.move(lock.name, Path(folder, LOCK))  # there only once it is held, so never taken for a dead one's
        content = Path(folder, "content")
        content.mkdir()
        yield content


def _clear(prefix: str) -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{prefix}-*/{LOCK}"):
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:
            continue  # its owner lives, or it is another user's, or just gone
