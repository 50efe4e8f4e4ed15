"""Raw months of TLC trips: schema, units, types unified, rows kept and dropped by reason.

A month is read as a stream of record batches, so that memory does not grow with its rows. Every defect of a file is
either a row dropped and counted by reason, or one `SchemaError`.

Source: TLC trip record data dictionaries (green: lpep_*, yellow: tpep_*); docs/data.md.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxi.months.month import TAXIS, Month, file_name, parse_months

__all__ = [
    "DURATION_MINUTES",
    "SCHEMA",
    "TAXIS",
    "VALID_SCHEMA",
    "Month",
    "SchemaError",
    "file_name",
    "kept_trips",
    "parse_months",
    "read_trips",
    "valid_trips",
]

DURATION_MINUTES = (1, 60)  # closed; outside it is meter error or a parked taxi, docs/data.md
KNOWN_ZONES = (1, 265)  # closed; TLC's taxi zone lookup, where 264 and 265 mean unknown
DISTANCE_MILES = (0, 1_000_000)  # closed; more than any meter shows, and sums of hundredths stay exact in int64
PICKUP_YEARS = (1678, 2261)  # closed; what nanosecond timestamps hold, so that no later step overflows

SCHEMA = pa.schema(
    {
        "PULocationID": pa.int32(),
        "DOLocationID": pa.int32(),
        "trip_distance": pa.float64(),  # miles
        "pickup_datetime": pa.timestamp("us"),  # wall clock in New York
        "dropoff_datetime": pa.timestamp("us"),
    }
)
VALID_SCHEMA = SCHEMA.remove(4).append(pa.field("duration", pa.float64()))  # minutes

BATCH_ROWS = 131_072  # five columns of at most 1 MiB: long enough to vectorise, short enough for a processor's cache
READ_BYTES = 1 << 20  # of a compressed column in memory at a time, however long its row group

_MINUTE = 60_000_000  # microseconds
_PREFIX = {"green": "lpep", "yellow": "tpep"}


class SchemaError(ValueError):
    """A raw file that cannot be used: not Parquet, damaged, a column missing or of a wrong type, no usable trip."""


def read_trips(month: Month, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The columns a model needs, in file order, types unified, nulls kept.

    Yields record batches of `SCHEMA` of at most `batch_rows` rows. Timestamps are wall-clock time and stay without a
    time zone. Zone ids that are no int32 become null. Raises SchemaError.
    """
    names = raw_names(month.taxi)
    with _blaming(month):
        file = pq.ParquetFile(month.path, buffer_size=READ_BYTES, coerce_int96_timestamp_unit="us")
    with file:
        with _blaming(month):
            _check_schema(file.schema_arrow, names, month)
            batches = file.iter_batches(batch_rows, columns=names, use_threads=False)  # as fast, and one core
        while True:
            with _blaming(month):
                raw = next(batches, None)
                if raw is None:
                    return
                columns = [_unified(raw.column(name), field.type) for name, field in zip(names, SCHEMA, strict=True)]
            yield pa.record_batch(columns, schema=SCHEMA)


def valid_trips(batch: pa.RecordBatch, month_name: str, in_month: bool) -> tuple[pa.RecordBatch, Counter[str]]:
    """The trips of a batch of `SCHEMA` that a model may learn from, and how many were dropped for which reason.

    Kept rows are in order, of `VALID_SCHEMA`, without nulls; with `in_month` only those picked up in that month.
    A dropped row is counted once, under the first reason that holds.
    """
    pickup_zone, dropoff_zone, distance, pickup, dropoff = (_values(column) for column in batch.columns)
    duration = dropoff - pickup  # microseconds; wraps only where the pickup is impossible
    columns = zip(batch.schema.names, batch.columns, strict=True)
    passes = {f"no {name}": column.is_valid().to_numpy(False) for name, column in columns if column.null_count}
    passes |= {
        "PULocationID not in 1..265": _within(pickup_zone, *KNOWN_ZONES),
        "DOLocationID not in 1..265": _within(dropoff_zone, *KNOWN_ZONES),
        "trip_distance impossible": _within(distance, *DISTANCE_MILES),
        "pickup_datetime impossible": _within(pickup, _EARLIEST, _LATEST),
        "drop-off before pickup": duration >= 0,
        "shorter than 1 minute": duration >= DURATION_MINUTES[0] * _MINUTE,
        "longer than 60 minutes": duration <= DURATION_MINUTES[1] * _MINUTE,
    }
    if in_month:
        start = np.datetime64(month_name, "M")
        passes["pickup outside the month"] = _within(pickup, _microseconds(start), _microseconds(start + 1) - 1)

    keep = np.logical_and.reduce(list(passes.values()))
    minutes = duration / 1e6 / 60  # as pandas' total_seconds() / 60, to the last bit
    every = pa.record_batch([*batch.columns[:4], minutes], schema=VALID_SCHEMA)
    return every.filter(pa.array(keep)), _first_reasons(passes, np.flatnonzero(~keep))


def kept_trips(
    month: Month, in_month: bool, dropped: Counter[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """A month's valid trips in batches of `VALID_SCHEMA`; adds what was dropped, by reason, to `dropped`.

    Raises SchemaError, at the end also if no trip was usable.
    """
    found = 0
    reasons: Counter[str] = Counter()
    for raw in read_trips(month, batch_rows):
        batch, dropped_here = valid_trips(raw, month.name, in_month)
        reasons += dropped_here
        found += batch.num_rows
        if batch.num_rows:
            yield batch
    dropped += reasons
    if not found:
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "the file has no rows"
        raise SchemaError(f"{month.path} has no usable trip ({why}).\nLeave month {month.name} out, or fetch it again.")


def raw_names(taxi: str) -> list[str]:
    """TLC's names of the columns of `SCHEMA`, in that order."""
    prefix = _PREFIX[taxi]
    return [*SCHEMA.names[:3], f"{prefix}_pickup_datetime", f"{prefix}_dropoff_datetime"]


def _values(column: pa.Array) -> np.ndarray:
    """Numbers of a column without a copy; timestamps as int64 microseconds; anything (0) where null."""
    values = (column.fill_null(0) if column.null_count else column).to_numpy(zero_copy_only=True)
    return values.view("int64") if values.dtype.kind == "M" else values


def _within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return (values >= low) & (values <= high)  # false for NaN


def _microseconds(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype("int64"))


_EARLIEST = _microseconds(np.datetime64(str(PICKUP_YEARS[0]), "Y"))
_LATEST = _microseconds(np.datetime64(str(PICKUP_YEARS[1] + 1), "Y")) - 1


def _first_reasons(passes: dict[str, np.ndarray], rows: np.ndarray) -> Counter[str]:
    """How many of `rows` fail each test, each row counted under the first it fails."""
    counts: Counter[str] = Counter()
    for reason, passed in passes.items():
        survives = passed[rows]
        if fails := len(rows) - np.count_nonzero(survives):
            counts[reason] = int(fails)
        rows = rows[survives]
    return counts


@contextmanager
def _blaming(month: Month) -> Iterator[None]:
    """Turn what pyarrow says of a file that cannot be read into one SchemaError."""
    try:
        yield
    except SchemaError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        what = "is a folder, not a file" if month.path.is_dir() else f"cannot be read as Parquet ({reason})"
        raise SchemaError(f"{month.path} {what}.\nFetch the file again: it is damaged or not TLC's.") from error


def _check_schema(schema: pa.Schema, names: list[str], month: Month) -> None:
    for name, field in zip(names, SCHEMA, strict=True):
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            raise SchemaError(_wrong_columns(schema, name, len(places), month))
        found = schema.field(places[0]).type
        if not _TAKEN[field.type](found):
            remedy = (
                "Write wall-clock time without a time zone."
                if pa.types.is_timestamp(found)
                else (f"Use a file as TLC publishes it: {field.type} or a type that fits it.")
            )
            raise SchemaError(f"{month.path}: column {name!r} is {found}, not {field.type}.\n{remedy}")


def _wrong_columns(schema: pa.Schema, name: str, count: int, month: Month) -> str:
    others = [taxi for taxi in TAXIS if taxi != month.taxi and set(raw_names(taxi)) <= set(schema.names)]
    advice = f", or pass taxi={others[0]}, which this file is of" if others else ""
    how_many = "no column" if not count else f"{count} columns"
    found = " ".join(", ".join(schema.names).split())
    found = found if len(found) <= 300 else found[:300] + "..."
    remedy = f"Use a TLC {month.taxi} trip file of 2011 or later{advice}."
    return f"{month.path} has {how_many} {name!r} (found: {found}).\n{remedy}"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)


def _is_wall_clock(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)


_TAKEN = {pa.int32(): _is_number, pa.float64(): _is_number, pa.timestamp("us"): _is_wall_clock}


def _unified(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A raw column as `kind`; between months zones are int64, int32, or float64 where pandas met a null."""
    if column.type == kind:
        return column
    if kind != pa.int32():
        return column.cast(kind, safe=_overflows(column.type))  # finer timestamps lose what is below a microsecond
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        numbers = column.cast(pa.float64(), safe=False)  # holds every int32 exactly
        limits = np.iinfo("int32")
        fits = pc.and_(
            pc.and_(pc.greater_equal(numbers, limits.min), pc.less_equal(numbers, limits.max)),
            pc.equal(numbers, pc.floor(numbers)),
        )
        return pc.if_else(fits, numbers, None).cast(kind)


def _overflows(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.unit in ("s", "ms")
