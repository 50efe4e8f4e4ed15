"""Raw months: which rows are kept, which types are taken, what a file that is none says."""

import struct
from collections import Counter
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taxi.months import trips
from taxi.months.month import Month, file_name
from taxi.months.trips import SCHEMA, VALID_SCHEMA, SchemaError, kept_trips, read_trips, valid_trips


def batch_of(*rows: tuple) -> pa.RecordBatch:
    """Rows of (pickup zone, drop-off zone, miles, pickup, drop-off) as a batch of the unified schema."""
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def trip(minutes: float = 10.0, *, zones=(74, 75), miles=2.0, pickup=datetime(2023, 1, 10, 12)) -> tuple:
    return (*zones, miles, pickup, pickup + pd.Timedelta(minutes=minutes).to_pytimedelta())


def read(month: Month) -> pa.Table:
    return pa.Table.from_batches(read_trips(month), SCHEMA)


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def damage(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


# Rows


def test_the_twelve_trips_are_counted_once_each(tiny_trips, month_of):
    """Every row is kept, or dropped under exactly one reason."""
    dropped = Counter()
    kept = pa.Table.from_batches(kept_trips(month_of(tiny_trips), True, dropped), VALID_SCHEMA)
    assert kept["duration"].to_pylist() == [9.0, 12.5, 1.0, 60.0, 20.0, 6.0]
    assert dropped == {
        "pickup outside the month": 1,
        "shorter than 1 minute": 1,
        "longer than 60 minutes": 2,
        "drop-off before pickup": 1,
        "no DOLocationID": 1,
    }


def test_trips_outside_the_month_are_kept_when_asked(tiny_trips, month_of):
    """The course keeps every trip of 1 to 60 minutes, whatever its date."""
    kept = pa.Table.from_batches(kept_trips(month_of(tiny_trips), False, Counter()), VALID_SCHEMA)
    assert kept["duration"].to_pylist() == [9.0, 12.5, 1.0, 60.0, 20.0, 6.0, 15.0]


@pytest.mark.parametrize(("minutes", "kept"), [(1, 1), (60, 1), (60 - 1e-6, 1), (1 - 1e-6, 0), (60 + 1e-6, 0)])
def test_both_ends_of_the_duration_interval_are_inclusive(minutes, kept):
    """The interval is closed, and sharp to less than a millisecond."""
    assert valid_trips(batch_of(trip(minutes)), "2023-01", True)[0].num_rows == kept


@pytest.mark.parametrize(
    ("pickup", "kept"),
    [
        (datetime(2023, 1, 1), 1),
        (datetime(2022, 12, 31, 23, 59, 59, 999999), 0),
        (datetime(2023, 1, 31, 23, 59, 59, 999999), 1),
        (datetime(2023, 2, 1), 0),
        (datetime(1900, 1, 10), 0),
        (datetime(2099, 1, 10), 0),
    ],
)
def test_a_month_begins_and_ends_at_midnight(pickup, kept):
    """The month is half-open in wall-clock time, and the drop-off does not matter."""
    batch, dropped = valid_trips(batch_of(trip(pickup=pickup)), "2023-01", True)
    assert (batch.num_rows, dropped["pickup outside the month"]) == (kept, 1 - kept)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (trip(miles=float("inf")), "trip_distance impossible"),
        (trip(miles=float("-inf")), "trip_distance impossible"),
        (trip(miles=float("nan")), "trip_distance impossible"),
        (trip(miles=-0.01), "trip_distance impossible"),
        (trip(miles=1e300), "trip_distance impossible"),
        (trip(miles=None), "no trip_distance"),
        (trip(zones=(None, 75)), "no PULocationID"),
        (trip(zones=(0, 75)), "PULocationID not in 1..265"),
        (trip(zones=(74, 266)), "DOLocationID not in 1..265"),
        (trip(zones=(None, None)), "no PULocationID"),
        ((74, 75, 1.0, None, datetime(2023, 1, 1)), "no pickup_datetime"),
        ((74, 75, 1.0, datetime(2023, 1, 1), None), "no dropoff_datetime"),
        (trip(pickup=datetime(1, 1, 1)), "pickup_datetime impossible"),
        (trip(pickup=datetime(9999, 1, 1)), "pickup_datetime impossible"),
        (trip(-5), "drop-off before pickup"),
        (trip(0), "shorter than 1 minute"),
        (trip(24 * 60 - 3), "longer than 60 minutes"),
    ],
)
def test_a_defect_is_counted_under_its_own_name(row, reason):
    """One bad row between two good ones costs that row only."""
    batch, dropped = valid_trips(batch_of(trip(), row, trip()), "2023-01", False)
    assert (batch.num_rows, dropped) == (2, {reason: 1})


def test_a_distance_of_a_real_stuck_meter_is_kept():
    """Distances of 0 and of 178,919.98 miles are in the published row counts."""
    assert valid_trips(batch_of(trip(miles=0.0), trip(miles=178_919.98)), "2023-01", True)[0].num_rows == 2


def test_timestamps_at_the_ends_of_int64_do_not_wrap_into_a_valid_duration():
    """A difference that overflows int64 to ten minutes is no trip of ten minutes."""
    ends = np.array([2**63 - 1 - 300_000_000, -(2**63) + 300_000_000]).view("datetime64[us]")
    columns = [pa.array([74], pa.int32()), pa.array([75], pa.int32()), pa.array([1.0]), pa.array(ends[:1]), ends[1:]]
    batch, dropped = valid_trips(pa.record_batch(columns, schema=SCHEMA), "2023-01", False)
    assert (batch.num_rows, dropped) == (0, {"pickup_datetime impossible": 1})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**10), 10**10), min_size=1, max_size=20))
def test_duration_equals_pandas_to_the_last_bit(microseconds):
    """The published errors rest on total_seconds() / 60, also where seconds are not whole."""
    pickup = np.full(len(microseconds), np.datetime64("2023-01-10T12", "us"))
    dropoff = pickup + np.array(microseconds).astype("timedelta64[us]")
    n = len(pickup)
    columns = [np.full(n, 74, "int32"), np.full(n, 75, "int32"), np.ones(n), pickup, dropoff]
    expected = pd.Series(dropoff - pickup).dt.total_seconds() / 60
    batch, _ = valid_trips(pa.record_batch(columns, schema=SCHEMA), "2023-01", False)
    assert batch["duration"].to_pylist() == expected[(expected >= 1) & (expected <= 60)].to_list()


# Types


def test_months_of_different_types_give_one_schema(tiny_trips, month_of):
    """int64 and string months and int32 and large_string months read the same."""
    newer = replaced(tiny_trips, "PULocationID", tiny_trips["PULocationID"].cast("int32"))
    newer = replaced(newer, "DOLocationID", newer["DOLocationID"].cast("int32")).append_column(
        "store_and_fwd_flag", pa.array(["N"] * 12, pa.large_string())
    )
    assert read(month_of(newer)) == read(month_of(tiny_trips))


@pytest.mark.parametrize("kind", ["int16", "uint64", "float32", "float64"])
def test_zones_of_any_number_type_are_read(tiny_trips, month_of, kind):
    """pandas writes zones as floats where one is missing; the numbers are the same."""
    odd = replaced(tiny_trips, "DOLocationID", tiny_trips["DOLocationID"].cast(kind))
    assert read(month_of(odd)) == read(month_of(tiny_trips))


def test_zones_that_are_no_int32_become_null(tiny_trips, month_of):
    """A fraction, a NaN or a huge number costs its row, not the month."""
    zones = pa.array([74.5, float("nan"), 1e300, -float("inf"), 3e9] + [74.0] * 7)
    assert (
        read(month_of(replaced(tiny_trips, "PULocationID", zones)))["PULocationID"].to_pylist() == [None] * 5 + [74] * 7
    )


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_timestamps_of_other_units_keep_their_wall_clock(tiny_trips, month_of, unit):
    """Older files have other units; no hour may shift."""
    odd = replaced(tiny_trips, "lpep_pickup_datetime", tiny_trips["lpep_pickup_datetime"].cast(pa.timestamp(unit)))
    assert read(month_of(odd)) == read(month_of(tiny_trips))


def test_an_all_null_column_leaves_no_usable_trip(tiny_trips, month_of):
    """Arrow's null type, as TLC has in ehail_fee, is a column of nulls."""
    month = month_of(replaced(tiny_trips, "trip_distance", pa.nulls(12)))
    with pytest.raises(SchemaError, match=r"(?s)no usable trip \(.*\b11 no trip_distance.*Leave month 2023-01 out"):
        list(kept_trips(month, True, Counter()))


def test_batches_hold_at_most_what_is_asked(tiny_trips, month_of):
    """Memory is bounded by the batch, whatever the file's row groups."""
    assert [batch.num_rows for batch in read_trips(month_of(tiny_trips), batch_rows=5)] == [5, 5, 2]


# Files that cannot be used


def test_a_missing_column_is_named_with_what_was_found(tiny_trips, month_of):
    """The message says which column, which file, what is there and what to do."""
    month = month_of(tiny_trips.drop_columns(["PULocationID"]))
    with pytest.raises(SchemaError) as error:
        read(month)
    assert str(error.value) == (
        f"{month.path} has no column 'PULocationID' (found: VendorID, lpep_pickup_datetime, lpep_dropoff_datetime, "
        "DOLocationID, trip_distance, passenger_count).\n"
        "Use a TLC green trip file of 2011 or later."
    )


def test_the_other_taxi_is_recognised(tiny_trips, month_of):
    """A green file read as yellow names the parameter that fixes it."""
    with pytest.raises(SchemaError, match="or pass taxi=green, which this file is of"):
        read(month_of(tiny_trips, taxi="yellow"))


def test_a_column_given_twice_is_refused(tiny_trips, month_of):
    """Which of two would be right cannot be known."""
    with pytest.raises(SchemaError, match="has 2 columns 'PULocationID'"):
        read(month_of(tiny_trips.append_column("PULocationID", tiny_trips["DOLocationID"])))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("PULocationID", pa.string(), "column 'PULocationID' is string, not int32"),
        ("trip_distance", pa.string(), "column 'trip_distance' is string, not double"),
        ("lpep_pickup_datetime", pa.string(), r"'lpep_pickup_datetime' is string, not timestamp\[us\]"),
        ("lpep_pickup_datetime", pa.int64(), r"'lpep_pickup_datetime' is int64, not timestamp\[us\]"),
        ("lpep_dropoff_datetime", pa.timestamp("us", "UTC"), r"tz=UTC\], not timestamp\[us\].\nWrite wall-clock time"),
    ],
)
def test_a_wrong_type_is_refused(tiny_trips, month_of, name, kind, message):
    """Text, or time with a zone, is not guessed at."""
    with pytest.raises(SchemaError, match=message):
        read(month_of(replaced(tiny_trips, name, tiny_trips[name].cast(kind))))


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"<html>not found</html>" * 99, b"PAR1" + struct.pack("<I", 9) + b"PAR1"]
)
def test_what_is_not_parquet_says_so(month_of, content):
    """A zero-byte file and a saved error page are one clear error."""
    month = month_of(content)
    with pytest.raises(SchemaError, match=r"cannot be read as Parquet \(.*\)\.\nFetch the file again"):
        read(month)


def test_a_folder_named_like_the_file_says_so(tmp_path):
    """A folder is not mistaken for damage."""
    path = tmp_path / file_name("green", "2023-01")
    path.mkdir()
    with pytest.raises(SchemaError, match="is a folder, not a file"):
        read(Month("green", "2023-01", path, "", ""))


def test_a_file_without_rows_has_no_usable_trip(tiny_trips, month_of):
    """An empty month ends in an error, not in an empty dataset."""
    with pytest.raises(SchemaError, match="has no usable trip"):
        list(kept_trips(month_of(tiny_trips.slice(0, 0)), True, Counter()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_end_in_trips_or_in_a_schema_error(tiny_trips, month_of, data):
    """Truncation, flipped and overwritten bytes never end in a crash or a traceback of another kind."""
    content = bytearray(damage(tiny_trips))
    where = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["truncate", "flip", "overwrite"]))
    if how == "truncate":
        del content[where:]
    elif how == "flip":
        content[where] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content[where : where + 40] = data.draw(st.binary(min_size=40, max_size=40))
    try:
        kept = sum(batch.num_rows for batch in kept_trips(month_of(bytes(content)), True, Counter()))
    except SchemaError:
        return
    assert 0 < kept <= 12


# Real months


@pytest.mark.parametrize(
    ("name", "every_date", "in_month"),
    [
        ("2021-01", 73_908, 73_906),
        ("2021-02", 61_921, 61_920),
        ("2023-01", 65_946, 65_943),
        ("2023-02", 62_574, 62_551),
        ("2023-03", 69_392, 69_384),
    ],
)
def test_real_months_keep_the_published_number_of_trips(tlc, name, every_date, in_month):
    """The course's counts, and those less the 3, 23 and 8 trips of other months; durations are pandas' own."""
    month = Month("green", name, tlc / file_name("green", name), "", "")
    every = pa.Table.from_batches(kept_trips(month, False, Counter()), VALID_SCHEMA)
    assert every.num_rows == every_date
    assert sum(batch.num_rows for batch in kept_trips(month, True, Counter())) == in_month
    raw = pd.read_parquet(month.path, columns=["lpep_pickup_datetime", "lpep_dropoff_datetime"])
    minutes = (raw.lpep_dropoff_datetime - raw.lpep_pickup_datetime).dt.total_seconds() / 60
    low, high = trips.DURATION_MINUTES
    assert np.array_equal(every["duration"], minutes[minutes.between(low, high)])
