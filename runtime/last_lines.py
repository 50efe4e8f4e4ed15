"""Send the output of this process, and of those that it starts, to stderr, and keep its last lines."""

import codecs
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator

LINES = 30  # kept: the end of a traceback, and the messages after it
LENGTH = 400  # characters kept of a line
BLOCK = 1 << 16  # bytes
SECONDS = 5.0  # to wait for the rest of the output: a process that outlives its parent would keep the pipe open


class LastLines:
    """The last lines of some output, as text. It grows while the output is written."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a block may end in the middle of a letter

    def add(self, block: bytes) -> None:
        """Take some more output. A line may come in several blocks."""
        *lines, rest = (self._rest + self._decoder.decode(block)).split("\n")
        self._lines.extend(line[-LENGTH:] for line in lines if line.strip())
        self._rest = rest[-LENGTH:]

    @property
    def lines(self) -> list[str]:
        """The lines, without empty ones."""
        return [*self._lines, *([self._rest] if self._rest.strip() else [])]


@contextlib.contextmanager
def to_stderr(shown: bool = True) -> Iterator[LastLines]:
    """While it is open, what goes to stdout or stderr goes to stderr, or nowhere unless `shown`.

    It replaces the descriptors 1 and 2, which other processes inherit.
    """
    _flush()
    kept, before = LastLines(), (os.dup(1), os.dup(2))
    reading, writing = os.pipe()
    reader = threading.Thread(target=_read, args=(reading, before[1] if shown else None, kept), daemon=True)
    reader.start()
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    try:
        yield kept
    finally:
        _flush()
        for number, descriptor in enumerate(before, 1):
            os.dup2(descriptor, number)
        reader.join(SECONDS)
        if not reader.is_alive():
            for descriptor in before:
                os.close(descriptor)


def _read(reading: int, target: int | None, kept: LastLines) -> None:
    with open(reading, "rb", buffering=0) as source:
        while block := source.read(BLOCK):
            kept.add(block)
            if target is not None:
                with contextlib.suppress(OSError):  # the terminal is closed; the steps go on
                    os.write(target, block)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed
            stream.flush()
