"""Show progress of long work on stderr: a bar on a terminal, otherwise one line for each tenth."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

Item = TypeVar("Item")

SILENT_SECONDS = 2  # shorter work needs no progress
LOOK_SECONDS = 0.5  # between two checks of a folder that another process fills

AS_LINES = "PROGRESS_AS_LINES"  # in the environment of a process that shares its terminal with another one

_wanted = True


def show(wanted: bool) -> None:
    """Turn the progress of this process on or off. At the start it is on."""
    global _wanted
    _wanted = wanted


@contextmanager
def as_lines() -> Iterator[None]:
    """Processes that are started meanwhile print lines on a terminal, because another process draws a bar there."""
    given = AS_LINES in os.environ
    os.environ[AS_LINES] = "true"
    try:
        yield
    finally:
        if not given:
            del os.environ[AS_LINES]


class Bar(Protocol):
    """Shows the progress of some work: tqdm's bar or `Lines`."""

    def update(self, n: int) -> bool | None: ...

    def close(self) -> None: ...


def bar(what: str, total: int | None, unit: str, shown: bool = True) -> Bar:
    """tqdm's bar on a terminal that this process has to itself, otherwise `Lines`."""
    shown = shown and _wanted
    if not shown or not sys.stderr.isatty() or AS_LINES in os.environ:
        return Lines(what, total, unit, shown)
    from tqdm import tqdm

    return tqdm(desc=what, total=total, unit=unit, unit_scale=True, delay=SILENT_SECONDS, file=sys.stderr)


class Lines:
    """Like tqdm's bar, but it prints a line for each tenth of the work, which suits a log file."""

    def __init__(self, what: str, total: int | None, unit: str, shown: bool = True) -> None:
        self.what, self.total, self.unit, self.shown = what, total, unit, shown and _wanted
        self.started, self.tenths, self.done = time.monotonic(), 0, 0

    def update(self, n: int) -> None:
        self.done += n
        passed = time.monotonic() - self.started
        if not self.total:
            return
        tenths = min(10, 10 * self.done // self.total)
        if self.shown and tenths > self.tenths and passed > SILENT_SECONDS:
            left = passed * max(self.total - self.done, 0) / self.done
            line = f"{self.what}: {tenths * 10} % of {self.total:,} {self.unit}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)
            self.tenths = tenths

    def close(self) -> None:
        pass


@contextmanager
def following(what: str, unit: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Give a function (done, total) that shows the progress, for work that counts by itself."""
    drawn: Bar | None = None
    before = 0

    def follow(done: int, total: int) -> None:
        nonlocal drawn, before
        drawn = drawn or bar(what, total, unit, shown)
        drawn.update(done - before)
        before = done

    try:
        yield follow
    finally:
        if drawn:
            drawn.close()


def counted(
    items: Iterable[Item],
    what: str,
    total: int,
    unit: str,
    size: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Item]:
    """Yield the items, and advance a bar by the `size` of each item after it was used."""
    with closing(bar(what, total, unit)) as drawn:
        for item in items:
            yield item
            drawn.update(size(item))


def numbered(items: Sequence[Item], what: str, name: Callable[[Item], str] = str) -> Iterator[Item]:
    """The same items, a line before each: "main: step 2 of 4 (train)".

    For steps that show progress of their own. They take unlike times, so there is no estimate of what is left.
    """
    for number, item in enumerate(items, 1):
        if _wanted:
            print(f"{what}: step {number} of {len(items)} ({name(item)})", file=sys.stderr, flush=True)
        yield item


def number_of(n: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@contextmanager
def growing(what: str, folder: Path, total: Callable[[], int]) -> Iterator[None]:
    """Show the number of bytes in `folder` while any process fills it. `total()` is called only if it takes longer."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(what, folder, total, over), daemon=True, name="progress")
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(what: str, folder: Path, total: Callable[[], int], over: threading.Event) -> None:
    if over.wait(SILENT_SECONDS):
        return
    with suppress(Exception):  # without a total there is no bar; the work itself goes on
        done = 0
        with closing(bar(what, total(), "B")) as drawn:
            while not over.wait(LOOK_SECONDS):
                now = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                drawn.update(now - done)
                done = now
