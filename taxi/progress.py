"""Progress of long work on stderr: a bar on a terminal, else a line every tenth."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_SECONDS = 2  # shorter work needs no progress


def bar(what: str, total: int | None, unit: str, shown: bool = True):
    """Something with `update(n)` and `close()`: tqdm's bar, or `Lines` where nobody watches."""
    if not shown or not sys.stderr.isatty():
        return Lines(what, total, unit, shown)
    from tqdm import tqdm

    return tqdm(desc=what, total=total, unit=unit, unit_scale=True, delay=SILENT_SECONDS, file=sys.stderr)


class Lines:
    """As much of tqdm as a log can bear."""

    def __init__(self, what: str, total: int | None, unit: str, shown: bool = True) -> None:
        self.what, self.total, self.unit, self.shown = what, total, unit, shown
        self.started, self.tenths, self.done = time.monotonic(), 0, 0

    def update(self, n: int) -> None:
        self.done += n
        tenths = min(10, 10 * self.done // self.total) if self.total else 0
        passed = time.monotonic() - self.started
        if self.shown and tenths > self.tenths and passed > SILENT_SECONDS:
            left = passed * max(self.total - self.done, 0) / self.done
            line = f"{self.what}: {tenths * 10} % of {self.total:,} {self.unit}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)
            self.tenths = tenths

    def close(self) -> None:
        pass


@contextmanager
def following(what: str, unit: str, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) to call as work goes on, for work that counts itself."""
    drawn = None

    def follow(done: int, total: int) -> None:
        nonlocal drawn
        drawn = drawn or bar(what, total, unit, shown)
        drawn.update(done - follow.done)
        follow.done = done

    follow.done = 0
    try:
        yield follow
    finally:
        if drawn:
            drawn.close()
