"""Minutes for every row of a table of raw trips, in its order; where there is no answer, the reason."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from taxi.predictor import PICKUP, Predictor
from taxi.tables import Table, TableError
from taxi.trips import PICKUP_YEARS

NUMBERS = ("PULocationID", "DOLocationID", "trip_distance")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MOMENT = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?$"
_LIMITS = np.array([PICKUP_YEARS[0], PICKUP_YEARS[1] + 1]).astype(str).astype("datetime64[D]")


def columns(predictor: Predictor) -> list[str]:
    """TLC's names of the columns that the predictor reads."""
    return [name for name in NUMBERS if name in predictor.features.uses] + [PICKUP[predictor.taxi]]


# A row of the answers: minutes, the ends of their interval where the model has one, else null; null or the reason.
SCHEMA = pa.schema(
    {"duration": pa.float64(), "duration_low": pa.float64(), "duration_high": pa.float64(), "reason": pa.string()}
)


def answers(predictor: Predictor, table: Table, reasons: Counter) -> Iterator[pa.RecordBatch]:
    """Batches of `SCHEMA`, a row for each row of `table` in its order; adds the reasons for no answer to `reasons`.

    Unknown zones, nulls in zones and distances, and absurd distances are answered by the features' fallbacks, to the
    same bits as by the served model. Raises TableError for a column of a type that holds no such values.
    """
    for batch in table.batches():
        frame, reason = _read(batch, table.uri, PICKUP[predictor.taxi])
        good = np.equal(reason, None)
        reasons.update(reason[~good].tolist())
        answer = predictor.answer(frame[good]) if good.any() else {}
        columns = [_spread(answer.get(name), good) for name in SCHEMA.names[:3]]
        yield pa.record_batch([*columns, pa.array(reason, pa.string())], schema=SCHEMA)


def _spread(values: np.ndarray | None, good: np.ndarray) -> pa.Array:
    """`values` of the good rows at their places, null elsewhere."""
    if values is None:
        return pa.nulls(len(good), pa.float64())
    placed = np.zeros(len(good))
    placed[good] = values
    return pa.array(placed, mask=~good)


def _read(batch: pa.RecordBatch, said: str, pickup: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The trips as the predictor takes them, and per row None or why it cannot be one: shape (n,), the first reason."""
    reason = np.full(batch.num_rows, None, dtype=object)
    made: dict[str, np.ndarray] = {}
    for name in [pickup, *(name for name in NUMBERS if name in batch.schema.names)]:
        column = batch[name]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        reader = _moments if name == pickup else _numbers
        try:
            made[name], problems = reader(column)
        except (pa.ArrowException, TypeError) as error:
            what = "times" if name == pickup else "numbers"
            raise TableError(f"{said}: column {name} is {column.type}, which holds no {what}\n Give {what}.") from error
        for problem, rows in problems.items():
            reason[rows & np.equal(reason, None)] = problem.format(name=name)
    return pd.DataFrame(made), reason


def _numbers(column: pa.Array) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """float64 of shape (n,), NaN for null; which rows hold something that is no number."""
    kind = column.type
    if not _is_text(kind):
        if pa.types.is_temporal(kind) or not (
            pa.types.is_null(kind) or pa.types.is_primitive(kind) or pa.types.is_decimal(kind)
        ):
            raise TypeError(str(kind))
        return _filled(column.cast(pa.float64(), safe=False)), {}
    text = _trimmed(column)
    number = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    plain = pc.utf8_ltrim(pc.if_else(number, text, None), "+")  # which Arrow's cast does not know
    problem = _true(text.is_valid()) & ~_true(number)
    return _filled(plain.cast(pa.float64())), {"{name} is not a number": problem}


def _moments(column: pa.Array) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Wall-clock times, datetime64[us] of shape (n,); which rows have none, or one that is no time."""
    unreadable = np.zeros(len(column), bool)
    if _is_text(column.type):
        text = _trimmed(column)
        missing = ~_true(text.is_valid())
        shaped = pc.if_else(pc.match_substring_regex(text, _MOMENT), text, None)
        times = pd.to_datetime(pd.Series(shaped.to_pandas(), dtype="str"), format="ISO8601", errors="coerce")
        moments = times.to_numpy("datetime64[us]")
        unreadable = np.isnat(moments) & ~missing
    elif pa.types.is_null(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        missing = ~_true(column.is_valid())
        if pa.types.is_timestamp(column.type) and column.type.tz:
            column = pc.local_timestamp(column)
        moments = column.to_numpy(zero_copy_only=False)
    else:
        raise TypeError(str(column.type))
    # In the column's own unit: a finer one would not hold every time of it.
    first, last = _LIMITS.astype(moments.dtype)
    impossible = ~missing & ~unreadable & ~((moments >= first) & (moments < last))
    moments = np.where(impossible, np.datetime64("NaT"), moments).astype("datetime64[us]")
    problems = {"no pickup time": missing, "pickup time cannot be read": unreadable,
                "pickup time impossible": impossible}  # fmt: skip
    return moments, problems


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _trimmed(column: pa.Array) -> pa.Array:
    """Text without white space around it; null where nothing is left."""
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def _filled(column: pa.Array) -> np.ndarray:
    return pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)


def _true(column: pa.Array) -> np.ndarray:
    return pc.fill_null(column, False).to_numpy(zero_copy_only=False)
