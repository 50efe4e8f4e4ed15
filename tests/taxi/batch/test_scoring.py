"""Files of raw trips in, a row for each out: types, defects, order, and files that cannot be read or written."""

import gc
import tracemalloc
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi.batch import scoring, tables
from taxi.batch.tables import TableError, open_table, table_writer
from taxi.city.sample import write_month
from taxi.dataset.split import Split
from taxi.features.fitting import FEATURE_SETS, fit
from taxi.models.families import FAMILIES
from taxi.models.intervals import Intervals
from taxi.models.predictor import Predictor
from taxi.months.month import Month
from taxi.months.trips import kept_trips

PICKUP = "lpep_pickup_datetime"
MORNING = datetime(2023, 3, 1, 8, 15)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """A month of 2,000 records as TLC publishes them."""
    path = tmp_path_factory.mktemp("raw") / "green_tripdata_2023-01.parquet"
    write_month(path, "green", "2023-01", 2000)
    return path


@pytest.fixture(scope="module")
def predictors(raw) -> dict[str, Predictor]:
    """One fitted on each feature set."""
    batches = list(kept_trips(Month("green", "2023-01", raw, "", ""), True, Counter()))
    made = {}
    for name, feature_set in FEATURE_SETS.items():
        features = fit(feature_set, [batches])
        columns = [features.transform(batch) for batch in batches]
        X = features.matrix({field: columns[0][field].to_numpy() for field in columns[0].schema.names})
        y = batches[0]["duration"].to_numpy()
        family = FAMILIES["xgboost"]
        params = family.parse({"n_estimators": 20}, name)
        estimator = family.fit(Split(X, y, features.labels, features.categorical), None, params, 1)
        made[name] = Predictor("green", features, estimator, Intervals.learn(y, estimator.predict(X)))
    return made


@pytest.fixture
def predictor(predictors) -> Predictor:
    return predictors["full"]


def trips(n: int = 4, **columns) -> pa.Table:
    """n trips from zone 74 to 75, an hour apart, with some columns replaced."""
    usual = {
        "PULocationID": pa.array([74] * n, pa.int64()),
        "DOLocationID": pa.array([75] * n, pa.int64()),
        "trip_distance": pa.array([1.2] * n, pa.float64()),
        PICKUP: pa.array([MORNING + timedelta(hours=hour) for hour in range(n)], pa.timestamp("us")),
    }
    return pa.table({**usual, **columns})


def scored(predictor: Predictor, path: Path | str) -> tuple[pd.DataFrame, Counter]:
    """The answers, with "none" for no reason, and how often each reason was counted."""
    reasons: Counter = Counter()
    with open_table(str(path), scoring.columns(predictor)) as table:
        batches = list(scoring.answers(predictor, table, reasons))
    found = pa.Table.from_batches(batches, scoring.SCHEMA)
    return found.set_column(3, "reason", found["reason"].fill_null("none")).to_pandas(), reasons


def score(predictor: Predictor, table: pa.Table, tmp_path: Path) -> tuple[pd.DataFrame, Counter]:
    path = tmp_path / "trips.parquet"
    pq.write_table(table, path)
    return scored(predictor, path)


def test_a_month_as_published_gets_the_bits_of_the_predictor(predictors, raw):
    """Every record, in order: also those that training drops."""
    records = pd.read_parquet(raw)
    for predictor in predictors.values():
        found, reasons = scored(predictor, raw)
        assert len(found) == 2000
        assert not reasons
        expected = predictor.answer(records)
        for name in ("duration", "duration_low", "duration_high"):
            assert np.array_equal(found[name].to_numpy(), expected[name])
        assert found["note"].replace({np.nan: None}).tolist() == expected["note"].tolist()
        assert 0 < found["note"].notna().sum() < 2000


def test_order_and_count_do_not_depend_on_the_batches(predictor, raw, monkeypatch):
    """Batches of seven rows."""
    whole, _ = scored(predictor, raw)
    monkeypatch.setattr(tables, "BATCH_ROWS", 7)
    pd.testing.assert_frame_equal(scored(predictor, raw)[0], whole)


def test_bad_rows_get_a_null_and_the_first_reason_and_the_rest_their_minutes(predictor, tmp_path):
    """Text columns, as a careless export leaves them."""
    table = trips(
        n=9,
        PULocationID=pa.array(["74", "x", " 74 ", "74", "74", "", "+74", "74.0", "74"]),
        trip_distance=pa.array(["1.2", "far", "1.2", "1.2", "1.2", "1.2", "1.2e0", "12e-1", "1,2"]),
        lpep_pickup_datetime=pa.array(
            ["2023-03-01 08:15:00", "2023-03-01 08:15:00", "2023-03-01T08:15", None, "yesterday",
             "2023-03-01 08:15:00.25", "2023-03-01 08:15:00", "2023-03-01 08:15:00", "2023-02-30 08:15:00"]
        ),
    )  # fmt: skip
    found, reasons = score(predictor, table, tmp_path)
    assert found["reason"].tolist() == [
        "none", "PULocationID is not a number", "none", "no pickup time", "pickup time cannot be read", "none", "none",
        "none", "pickup time cannot be read",
    ]  # fmt: skip
    assert reasons == {"PULocationID is not a number": 1, "no pickup time": 1, "pickup time cannot be read": 2}
    assert found["duration"].isna().tolist() == (found["reason"] != "none").tolist()
    alike = found["duration"][[0, 2, 6, 7]]
    assert alike.nunique() == 1
    assert found["duration"][5] == predictor.predict(trips(1, PULocationID=[0]).to_pandas())[0]  # an unknown zone


def test_types_of_many_kinds_are_the_same_trips(predictor, tmp_path):
    """Integers, floats, decimals, text, dictionaries; seconds, nanoseconds, days and a time zone's wall clock."""
    expected = score(predictor, trips(2), tmp_path)[0]
    hours = pa.array([MORNING, MORNING + timedelta(hours=1)], pa.timestamp("us"))
    for column in (
        {"PULocationID": pa.array([74, 74], pa.int32())},
        {"PULocationID": pa.array([74.0, 74.0])},
        {"PULocationID": pa.array(["74", "74"]).dictionary_encode()},
        {"trip_distance": pa.array(["1.2", "1.2"], pa.large_string())},
        {"trip_distance": pa.array([1.2, 1.2]).cast(pa.decimal128(5, 2))},
        {PICKUP: hours.cast(pa.timestamp("s"))},
        {PICKUP: hours.cast(pa.timestamp("ns"))},
        {PICKUP: pa.compute.assume_timezone(hours, "America/New_York")},
    ):
        pd.testing.assert_frame_equal(score(predictor, trips(2, **column), tmp_path)[0], expected)


def test_unknown_zones_and_missing_distances_are_answered(predictor, tmp_path):
    """By the features' fallbacks, as the served model does."""
    table = trips(4, DOLocationID=pa.array([75, None, 999, -3]), trip_distance=pa.nulls(4))
    found, reasons = score(predictor, table, tmp_path)
    assert not reasons
    assert found["duration"].notna().all()
    expected = {"DOLocationID is no zone (1 to 265)", "trip_distance is missing"}
    assert all(expected <= set(note.split("; ")) for note in found["note"][1:])
    assert found["duration"][2] == pytest.approx(found["duration"][3], abs=2)


def test_times_outside_what_can_be_counted_are_a_reason(predictor, tmp_path):
    """A clock at the end of time, in milliseconds that no microsecond holds."""
    moments = pa.array([1677657600000, 2**62, -(2**60), None], pa.int64()).cast(pa.timestamp("ms"))
    found, _ = score(predictor, trips(4, lpep_pickup_datetime=moments), tmp_path)
    impossible = "pickup time impossible"
    assert found["reason"].tolist() == ["none", impossible, impossible, "no pickup time"]


def test_a_csv_file_is_read_as_well(predictor, tmp_path):
    """The same trips, the same bits; quotes, blanks and bad cells included."""
    expected, _ = score(predictor, trips(3), tmp_path)
    path = tmp_path / "trips.csv"
    path.write_text(
        "note,PULocationID,DOLocationID,trip_distance,lpep_pickup_datetime\n"
        '"a, b",74,75,1.2,2023-03-01 08:15:00\n,74,75,1.2,2023-03-01 09:15:00\n,74,75,1.2,2023-03-01 10:15:00\n'
        ",74,75,1.2,\n"
    )
    found, reasons = scored(predictor, path)
    pd.testing.assert_frame_equal(found[:3], expected)
    assert reasons == {"no pickup time": 1}


def test_what_is_known_at_pickup_needs_no_distance(predictors, tmp_path):
    """The column may be absent; the others may not, and each is named."""
    without = trips(2).drop_columns(["trip_distance"])
    assert score(predictors["pickup"], without, tmp_path)[0]["duration"].notna().all()
    with pytest.raises(TableError, match=r"has no column PULocationID, trip_distance \(found: DOLocationID"):
        score(predictors["full"], without.drop_columns(["PULocationID"]), tmp_path)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"PULocationID": pa.array([[74]])}, "column PULocationID is list<element: int64>, which holds no numbers"),
        ({"trip_distance": pa.array([MORNING])}, r"column trip_distance is timestamp\[us\], which holds no numbers"),
        ({PICKUP: pa.array([20230301])}, f"column {PICKUP} is int64, which holds no times"),
    ],
)
def test_a_column_of_a_wrong_type_is_named(predictor, tmp_path, column, expected):
    """No row of it can be answered: an error, before anything is written."""
    with pytest.raises(TableError, match=expected):
        score(predictor, trips(1, **column), tmp_path)


def test_no_rows_give_no_rows(predictor, tmp_path):
    """An empty file is a file."""
    found, reasons = score(predictor, trips(0), tmp_path)
    assert (len(found), reasons) == (0, Counter())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_table_is_an_error(predictor, tmp_path, content):
    """Empty, cut, a page, damaged."""
    path = tmp_path / "trips.parquet"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"trips\.parquet"):
        scored(predictor, path)


def test_a_place_that_is_not_there_is_an_error(predictor, tmp_path):
    """To read from or to write to."""
    with pytest.raises(TableError, match="cannot be read"):
        scored(predictor, tmp_path / "none.parquet")
    with pytest.raises(TableError, match="cannot be read"):
        scored(predictor, "hdf5://x/y")
    with (
        pytest.raises(TableError, match="in a folder that is not there"),
        table_writer(str(tmp_path / "no" / "out.parquet"), scoring.SCHEMA),
    ):
        pass


@pytest.mark.parametrize("uri", ["{}/out.parquet", "file://{}/out.parquet"])
def test_what_is_written_is_whole_or_absent(tmp_path, uri):
    """An end before the end leaves the file that was there, and nothing beside it."""
    uri = uri.format(tmp_path)
    row = {"duration": 1.0, "duration_low": 0.5, "duration_high": 2.0, "reason": None, "note": "none"}
    table = pa.Table.from_pylist([row], scoring.SCHEMA)
    with table_writer(uri, scoring.SCHEMA) as write:
        write(table.to_batches()[0])
    before = (tmp_path / "out.parquet").read_bytes()
    assert pq.read_table(tmp_path / "out.parquet").equals(table)
    with pytest.raises(KeyboardInterrupt), table_writer(uri, scoring.SCHEMA) as write:
        write(table.to_batches()[0])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_a_bucket_gets_the_file_under_its_name_last(tmp_path, monkeypatch):
    """A file system that is not this machine's: written beside, then moved."""
    from pyarrow import fs

    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(tables, "_place", lambda uri: (bucket, uri.removeprefix("s3://bucket/")))
    with table_writer("s3://bucket/out.parquet", scoring.SCHEMA):
        pass
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert tables.sha256_of("s3://bucket/out.parquet")[1] == (tmp_path / "out.parquet").stat().st_size


def allocated() -> int:
    """Bytes that Arrow holds. What XGBoost left in a reference cycle is collected before, not whenever Python does."""
    gc.collect()
    return pa.total_allocated_bytes()


def test_memory_does_not_grow_with_the_rows(predictor, tmp_path, monkeypatch):
    """Of 16 and of 128 batches of 100 trips, the peak of Arrow's and Python's memory is the same, within a batch."""
    monkeypatch.setattr(tables, "BATCH_ROWS", 100)
    peaks = []
    for batches in (128, 16, 128):  # once to fill what is kept of days
        path = tmp_path / f"{batches}.parquet"
        pq.write_table(trips(batches * 100), path, row_group_size=100)
        tracemalloc.start()
        with open_table(str(path), scoring.columns(predictor)) as table:
            arrow = max(allocated() for _ in scoring.answers(predictor, table, Counter()))
        peaks.append((arrow, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    assert peaks[2][0] < peaks[1][0] + 200_000
    assert peaks[2][1] < peaks[1][1] + 200_000
