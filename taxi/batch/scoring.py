"""Minutes for every row of a table of raw trips, in its order; where there is no answer, the reason."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from taxi.batch.tables import Table, TableError
from taxi.models.predictor import NOTE, PICKUP, Predictor
from taxi.months.trips import PICKUP_YEARS

NUMBERS = ("PULocationID", "DOLocationID", "trip_distance")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA = r"^[+-]?\d+,\d+$"
_MOMENT = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?$"
_SLASHED = (
    r"^(?P<one>\d{1,2})/(?P<two>\d{1,2})/(?P<year>\d{4})"
    r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<micro>\d{1,6}))?)?"
    r"(?: ?(?P<half>[AaPp])[Mm])?)?$"
)
WANTED_TIMES = "Give times as 2023-04-01 08:15:00, or as TLC's portal does: 04/01/2023 08:15:00 AM."
_LIMITS = np.array([PICKUP_YEARS[0], PICKUP_YEARS[1] + 1]).astype(str).astype("datetime64[D]")


def columns(predictor: Predictor) -> list[str]:
    """TLC's names of the columns that the predictor reads."""
    return [name for name in NUMBERS if name in predictor.features.uses] + [PICKUP[predictor.taxi]]


MINUTES = ("duration", "duration_low", "duration_high")
# A row of the answers: minutes, the ends of their interval where the model has one, else null; null or the reason why
# there is no answer; null or what was unknown to an answer.
SCHEMA = pa.schema({**dict.fromkeys(MINUTES, pa.float64()), "reason": pa.string(), NOTE: pa.string()})


def answers(
    predictor: Predictor,
    table: Table,
    reasons: Counter[str],
    firsts: dict[str, str] | None = None,
    notes: Counter[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of `SCHEMA`, a row for each row of `table` in its order; adds the reasons for no answer to `reasons`.

    `firsts` gets the first value there was of each reason, `notes` the count of each note. Unknown zones, nulls in
    zones and distances, and absurd distances are answered by the features' fallbacks, to the same bits as by the
    served model, and noted. Raises TableError for a column of a type that holds no such values, and for values that
    can be read in two ways.
    """
    pickup = PICKUP[predictor.taxi]
    dates = Dates(table, pickup)
    for batch in table.batches():
        frame, reason, column_of = _read(batch, table.uri, pickup, dates)
        good = pd.isna(reason)
        if firsts is not None:
            _note_firsts(firsts, batch, reason, column_of)
        reasons.update(reason[~good].tolist())
        answer = predictor.answer(frame[good]) if good.any() else {}
        note = np.full(len(good), None, dtype=object)
        note[good] = answer.get(NOTE)
        if notes is not None:
            notes.update(note[~pd.isna(note)].tolist())
        columns = [_spread(answer.get(name), good) for name in MINUTES]
        yield pa.record_batch([*columns, pa.array(reason, pa.string()), pa.array(note, pa.string())], schema=SCHEMA)


def _note_firsts(
    firsts: dict[str, str], batch: pa.RecordBatch, reason: np.ndarray, column_of: Mapping[str, str]
) -> None:
    """Add the first value in this batch of each reason that `firsts` has none of."""
    for problem in set(reason[~pd.isna(reason)]):
        firsts.setdefault(problem, _shown(batch[column_of[problem]][int(np.argmax(reason == problem))]))


def _shown(value: pa.Scalar) -> str:
    """A value as its user would know it; "" for none, and for a time that no calendar has."""
    try:
        return str(value.as_py() or "")
    except (ValueError, OverflowError):
        return ""


def _spread(values: np.ndarray | None, good: np.ndarray) -> pa.Array:
    """`values` of the good rows at their places, null elsewhere."""
    if values is None:
        return pa.nulls(len(good), pa.float64())
    placed = np.zeros(len(good))
    placed[good] = values
    return pa.array(placed, mask=~good)


def _read(
    batch: pa.RecordBatch, said: str, pickup: str, dates: "Dates"
) -> tuple[pd.DataFrame, np.ndarray, dict[str, str]]:
    """The trips as the predictor takes them, and per row None or why it cannot be one: shape (n,), the first reason.

    Last, the column that each reason is about.
    """
    reason = np.full(batch.num_rows, None, dtype=object)
    made: dict[str, np.ndarray] = {}
    column_of: dict[str, str] = {}
    for name in [pickup, *(name for name in NUMBERS if name in batch.schema.names)]:
        column = batch[name]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            made[name], problems = _moments(column, dates) if name == pickup else _numbers(column)
        except (pa.ArrowException, TypeError) as error:
            what = "times" if name == pickup else "numbers"
            raise TableError(f"{said}: column {name} is {column.type}, which holds no {what}\n Give {what}.") from error
        except _DecimalComma as comma:
            raise TableError(f"{said}: {name} has {str(comma)!r}, with a comma\n Give numbers as 1234.5.") from None
        for problem, rows in problems.items():
            text = problem.format(name=name)
            reason[rows & pd.isna(reason)] = text
            column_of[text] = name
    return pd.DataFrame(made), reason, column_of


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
    commas = problem & _true(pc.match_substring_regex(text, _COMMA))
    points = _true(pc.match_substring(text, "."))
    if commas.any() and not points.any():  # decimal commas, or thousands: who can tell
        raise _DecimalComma(text[int(np.argmax(commas))].as_py())
    return _filled(plain.cast(pa.float64())), {"{name} is not a number": problem}


class _DecimalComma(Exception):
    """A number that is one thing here and another there."""


def _moments(column: pa.Array, dates: "Dates") -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Wall-clock times, datetime64[us] of shape (n,); which rows have none, or one that is no time."""
    unreadable = np.zeros(len(column), bool)
    if _is_text(column.type):
        text = _trimmed(column)
        missing = ~_true(text.is_valid())
        shaped = pc.if_else(pc.match_substring_regex(text, _MOMENT), text, None)
        times = pd.to_datetime(pd.Series(shaped.to_pandas(), dtype="str"), format="ISO8601", errors="coerce")
        moments = dates.with_slashes(text, times.to_numpy("datetime64[us]"))
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


class Dates:
    """Pickup times as 01/31/2021 12:15:56 AM, or 31/01/2021 00:15: which comes first, day or month, the file says.

    A number above 12 settles it for all of the file. Where there is none, AM or PM does, as TLC's own portal writes
    times; else nothing does, and the file is refused.
    """

    def __init__(self, table: Table, pickup: str):
        self._table, self._pickup = table, pickup
        self._month_first: bool | None = None  # not known yet

    def with_slashes(self, text: pa.Array, moments: np.ndarray) -> np.ndarray:
        """`moments`, datetime64[us] of shape (n,), with those rows filled in whose `text` is of these forms."""
        if not np.isnat(moments).any():
            return moments
        shaped = np.isnat(moments) & _true(pc.match_substring_regex(text, _SLASHED))
        if not shaped.any():
            return moments
        if self._month_first is None:
            self._month_first = self._look()
        moments = moments.copy()
        moments[shaped] = _slashed(_parts(text.filter(pa.array(shaped))), self._month_first)
        return moments

    def _look(self) -> bool:
        """Whether the month comes first. Raises TableError."""
        above, plain = np.zeros(2, bool), ""
        for batch in self._table.batches():
            text = _trimmed(batch[self._pickup])
            text = text.filter(pc.fill_null(pc.match_substring_regex(text, _SLASHED), False))
            parts = _parts(text)
            above |= [(parts[name] > 12).any() for name in ("one", "two")]
            without = np.flatnonzero(parts["half"] == "")
            plain = plain or (text[int(without[0])].as_py() if len(without) else "")
        if above.all() or (plain and not above.any()):
            what = "some with the day first and some with the month" if above.all() else f"{plain!r} among them"
            raise TableError(f"{self._table.uri}: {self._pickup} has dates that can be read in two ways, {what}\n"
                             f" {WANTED_TIMES}")  # fmt: skip
        return not above[0]


def _parts(text: pa.Array) -> dict[str, np.ndarray]:
    """What dates of the form _SLASHED are made of, arrays of shape (n,); `half` is "", "A" or "P"."""
    table = pc.extract_regex(text, _SLASHED)
    found = {name: table.field(name).to_pylist() for name in ("one", "two", "year", "hour", "minute", "second")}
    parts = {name: np.array([int(part or 0) for part in column], np.int64) for name, column in found.items()}
    parts["micro"] = np.array([int((part or "").ljust(6, "0")) for part in table.field("micro").to_pylist()], np.int64)
    parts["half"] = np.array([part.upper() for part in table.field("half").to_pylist()], dtype="<U1")
    return parts


def _slashed(parts: dict[str, np.ndarray], month_first: bool) -> np.ndarray:
    """datetime64[us] of shape (n,), NaT for what no calendar or clock has."""
    month, day = (parts["one"], parts["two"]) if month_first else (parts["two"], parts["one"])
    half, hour = parts["half"], parts["hour"]
    sound = (month >= 1) & (month <= 12) & (day >= 1) & (parts["minute"] < 60) & (parts["second"] < 60)
    sound &= np.where(half == "", hour < 24, (hour >= 1) & (hour <= 12))
    months = (parts["year"] - 1970) * 12 + np.where(sound, month, 1) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + np.where(sound, day, 1) - 1
    sound &= days.astype("datetime64[M]").astype(np.int64) == months
    hours = np.where(half == "", hour, hour % 12 + 12 * (half == "P"))
    seconds = hours * 3600 + parts["minute"] * 60 + parts["second"]
    moments = days.astype("datetime64[us]") + seconds * 1_000_000 + parts["micro"]
    return np.where(sound, moments, np.datetime64("NaT"))


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
