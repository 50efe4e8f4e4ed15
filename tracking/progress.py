"""Progress on stderr: a bar on a terminal, a line every 10 % elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

from tracking.session import Session

SILENT_SECONDS = 2  # work shorter than this needs no progress


@contextlib.contextmanager
def bar(session: Session, what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) to call as work goes on."""
    if session.quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc=what, unit=unit, unit_scale=True, delay=SILENT_SECONDS, file=sys.stderr) as drawn:

            def draw(done: int, total: int) -> None:
                drawn.total = total
                drawn.update(done - drawn.n)

            yield draw
    else:
        yield _lines(what, unit)


def _lines(what: str, unit: str) -> Callable[[int, int], None]:
    started, said = time.monotonic(), 0

    def write(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 10
        passed = time.monotonic() - started
        if tenth > said and passed > SILENT_SECONDS:
            said = tenth
            left = passed * (total - done) / done if done else 0
            click.echo(f"{what}: {tenth * 10} % ({done:,} of {total:,} {unit}, {left:.0f} s left)", err=True)

    return write
