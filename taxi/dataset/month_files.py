"""The valid trips of raw months as files of a dataset, months side by side."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from runtime.cores import cores
from runtime.files import replace_file, sha256_file
from taxi.months.month import Month
from taxi.months.trips import VALID_SCHEMA, kept_trips

ROW_GROUP = 131_072  # trips; a group in memory is 4 MiB. Groups are cut here, however the months were read.
FORMAT = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["PULocationID", "DOLocationID", "trip_distance", "duration"],  # seldom more than some thousand
    "column_encoding": {"pickup_datetime": "DELTA_BINARY_PACKED"},  # months are nearly in order of time
    "write_statistics": False,
}  # 5 bytes a trip, 9 on real months; 70 ns to write and 20 to read it, of all the settings tried the least of both

AT_ONCE = 8  # months, at most: each takes some 50 MB of memory, and a disk is busy with fewer

Seen = Callable[[Month, pa.RecordBatch, int, bool], None]


@dataclass(frozen=True)
class Written:
    """A month as it went into a dataset: SHA-256 of the raw file (hex), trips kept, and dropped by reason.

    sha256 (hex) and size, in bytes, are those of the file that was written.
    """

    digest: str
    kept: int
    dropped: Mapping[str, int]
    sha256: str
    size: int


def write_month(month: Month, in_month: bool, path: Path, seen: Seen = lambda *batch: None) -> Written:
    """Write a month's valid trips to `path`.

    `seen` gets the month, each batch before it is written, the trips kept with it, and whether it is the last.
    """
    dropped: Counter[str] = Counter()
    kept, beside = 0, path.with_suffix(".part")
    with pq.ParquetWriter(beside, VALID_SCHEMA, **FORMAT) as writer:
        for batch, last in marked(regrouped(kept_trips(month, in_month, dropped), ROW_GROUP)):
            kept += batch.num_rows
            seen(month, batch, kept, last)
            writer.write_batch(batch)
    replace_file(beside, path)
    return Written(month.digest, kept, dict(sorted(dropped.items())), sha256_file(path), path.stat().st_size)


@contextmanager
def months_here(paths: Mapping[Month, Path], in_month: bool, seen: Seen) -> Iterator[Callable[[Month, Path], Written]]:
    """`written` for `taxi.dataset.builder.build`: months written to their `paths`, in this order, one on each core.

    AT_ONCE at most. `seen` is called by one of them at a time, in no order. An error comes where its month is asked
    for, and ends all.
    """
    turn, ended = threading.Lock(), threading.Event()

    def one_at_a_time(month: Month, batch: pa.RecordBatch, kept: int, last: bool) -> None:
        with turn:
            if ended.is_set():
                raise InterruptedError("another month failed")
            seen(month, batch, kept, last)

    with ThreadPoolExecutor(min(cores(), AT_ONCE), thread_name_prefix="month") as threads:
        tasks = {
            month: threads.submit(write_month, month, in_month, path, one_at_a_time) for month, path in paths.items()
        }
        try:
            yield lambda month, path: tasks[month].result()
        finally:
            ended.set()
            threads.shutdown(cancel_futures=True)


def regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same trips in batches of exactly `rows` (the last may be shorter), each in one piece of memory."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            whole = _joined(waiting)
            yield whole.slice(0, rows)
            waiting, count = [whole.slice(rows)], count - rows
    if count:
        yield _joined(waiting)


def marked(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Each batch, and whether it is the last."""
    before = None
    for batch in batches:
        if before is not None:
            yield before, False
        before = batch
    if before is not None:
        yield before, True


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
