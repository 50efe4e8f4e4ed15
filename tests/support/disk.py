"""A small disk of the test's own, to be filled up or made read-only."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A mounted file system in memory."""

    path: Path

    @contextlib.contextmanager
    def filled(self, leaving: int) -> Iterator[None]:
        """All its space taken but `leaving` KiB."""
        ballast = self.path / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        size = ballast.stat().st_size
        with ballast.open("r+b") as file:
            file.truncate(max(0, size - (leaving << 10)))
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nobody may write, root neither."""
        _mount("--bind", self.path, self.path)  # over itself: whoever has a file open there does not stand in the way
        try:
            _mount("-o", "remount,bind,ro", self.path)
            yield
        finally:
            subprocess.run(["umount", "-l", self.path], check=True)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of that size at `path`; skips where nobody may mount one."""
    path.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], capture_output=True)
    if made.returncode:
        pytest.skip("left out: a disk that is full or read-only takes the right to mount one (root on Linux)")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)
