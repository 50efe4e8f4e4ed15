"""The embedded default: months of a made-up city in TLC's own schema, the same bytes every time, without a network.

The city is in `city`, the rides in `rides`, their defects in `meter`, the columns in `release`; what a perfect model
would score is `noise_floor`. Nothing heavy is imported until a month is made: asking for a digest must be cheap.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

VERSION = "city 1"  # raise it when any byte of any month changes; tests/taxi/city/test_sample.py knows when
ROWS = 20_000  # a month's records, near what TLC's green file of a quiet month has
COMPRESSION = "snappy"  # as TLC's


def spec_digest(taxi: str, name: str, rows: int = ROWS) -> str:
    """SHA-256 in hex of all that decides a month's bytes in one environment, without making the month."""
    return hashlib.sha256("\n".join([VERSION, taxi, name, str(rows)]).encode()).hexdigest()


def write_month(
    path: Path, taxi: str, name: str, rows: int = ROWS, progress: Callable[[int], bool | None] | None = None
) -> None:
    """Write a month of `rows` records, whole or not at all, in memory that does not grow with `rows`.

    `progress` is called with the number of rows after every chunk. Raises OSError where the disk refuses.
    """
    import pyarrow.parquet as pq

    from taxi.city import tlc_format
    from taxi.city.rides import CHUNK

    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    fields = tlc_format.schema(taxi, name)
    few = [field.name for field in fields if "datetime" not in field.name]  # seconds hardly ever repeat
    try:
        with open(beside, "wb") as sink:
            with pq.ParquetWriter(sink, fields, compression=COMPRESSION, use_dictionary=few) as writer:
                for chunk in range(-(-rows // CHUNK)):
                    part = tlc_format.table(taxi, name, rows, chunk)
                    writer.write_table(part)
                    if progress:
                        progress(part.num_rows)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def noise_floor(taxi: str, names: Iterable[str], rows: int = ROWS, distance_known: bool = True) -> float:
    """RMSE in minutes, on the kept trips of these months, of a model that knows the city as it was made.

    Kept are trips of 1 to 60 minutes within their month. The model knows zones, pickup time and, unless
    `distance_known` is false, the distance where the meter was right; no model can expect less, but by luck.
    """
    import numpy as np

    from taxi.city.meter import meter_records
    from taxi.city.rides import CHUNK, expected_minutes
    from taxi.months.trips import DURATION_MINUTES

    squares, count = 0.0, 0
    for name in names:
        for chunk in range(-(-rows // CHUNK)):
            records, _ = meter_records(taxi, name, rows, chunk)
            minutes = records.rides.seconds / 60
            low, high = DURATION_MINUTES
            kept = records.clock_right & ~records.miles_missing & (minutes >= low) & (minutes <= high)
            error = minutes - expected_minutes(records.rides, records.miles_right & distance_known)
            squares += float(np.square(error[kept]).sum())
            count += int(kept.sum())
    return (squares / count) ** 0.5
