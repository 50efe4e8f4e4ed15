"""Features: what each column is, when it is known, and that a served trip gets the bits a dataset's row has."""

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi.features.fitting import FEATURE_SETS, Column, FeatureError, FeatureMap, FeatureSet, fit
from taxi.months.month import Month, file_name
from taxi.months.trips import VALID_SCHEMA, kept_trips

NOON = "2023-01-04 12:30:59"  # a Wednesday


def trips(*rows) -> pa.RecordBatch:
    """Valid trips from (pickup zone, drop-off zone, miles, pickup, minutes)."""
    pickup_zone, dropoff_zone, miles, pickup, minutes = zip(*rows, strict=True)
    times = [datetime.fromisoformat(text) for text in pickup]
    columns = (pickup_zone, dropoff_zone, miles, times, minutes)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, VALID_SCHEMA, strict=True)], schema=VALID_SCHEMA
    )


def frame(*rows) -> pd.DataFrame:
    """The same as a person would send it."""
    names = ["PULocationID", "DOLocationID", "trip_distance", "pickup_datetime"]
    return pd.DataFrame([row[:4] for row in rows], columns=names)


@pytest.fixture
def street():
    """Features `full` of three zones on a street: 1 to 2 is three miles, 2 to 3 four, 1 to 3 seven."""
    rows = [(1, 2, 3.0, NOON, 10.0), (2, 3, 4.0, NOON, 12.0), (1, 3, 7.0, NOON, 20.0)]
    return fit(FEATURE_SETS["full"], [[trips(*rows)]])


def one(features: FeatureMap, *row) -> dict[str, float]:
    return {name: float(column[0]) for name, column in features.transform_frame(frame(row)).items()}


UNSEEN, NO_ZONE = "{} was not in training", "{} is no zone (1 to 265)"
FAR = "trip_distance is not above 0 and at most 100 miles"


@pytest.mark.parametrize(
    ("row", "notes"),
    [
        ((1, 3, 8.0), []),
        ((3, 1, 100.0), []),  # the map has no directions
        ((4, 3, 8.0), [UNSEEN.format("PULocationID")]),
        ((4, 265, 8.0), [UNSEEN.format("PULocationID"), UNSEEN.format("DOLocationID")]),
        ((-75, 3, -5.0), [NO_ZONE.format("PULocationID"), FAR]),
        ((1, 266, 100.1), [NO_ZONE.format("DOLocationID"), FAR]),
        ((1.5, 3, 0.0), [NO_ZONE.format("PULocationID"), FAR]),
        ((None, 3, None), [NO_ZONE.format("PULocationID"), "trip_distance is missing"]),
    ],
)
def test_what_is_unknown_of_a_trip_is_noted(street, row, notes):
    """It is answered by a fallback, and the number alone would not tell."""
    beside = frame((1, 2, 3.0, NOON), (*row, NOON), (1, 2, 3.0, NOON))
    assert street.notes(beside).tolist() == [None, "; ".join(notes) or None, None]


def test_a_pair_that_training_did_not_have_is_noted():
    """`course` knows pairs, in the direction that was driven; its zones may all be known."""
    rows = [(1, 2, 3.0, NOON, 10.0), (2, 3, 4.0, NOON, 12.0)]
    pairs = fit(FEATURE_SETS["course"], [[trips(*rows)]])
    asked = frame((1, 2, 3.0, NOON), (2, 1, 3.0, NOON), (0, 1, 3.0, NOON))
    unseen = "PULocationID and DOLocationID were no pair in training"
    assert pairs.notes(asked).tolist() == [None, unseen, NO_ZONE.format("PULocationID")]


def test_a_distance_that_is_not_asked_for_is_not_missed():
    """`pickup` uses what is known at booking."""
    booking = fit(FEATURE_SETS["pickup"], [[trips((1, 2, 3.0, NOON, 10.0))]])
    assert booking.notes(frame((1, 2, -3.0, NOON)).drop(columns="trip_distance")).tolist() == [None]


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_usual_trips_are_between_zones_that_training_had(name):
    """They are the example that a logged model carries."""
    rows = [(1, 2, 3.0, NOON, 10.0), (2, 3, 4.0, NOON, 12.0), (1, 3, 7.0, NOON, 20.0)]
    features = fit(FEATURE_SETS[name], [[trips(*rows)]])
    usual = features.usual_trips()
    assert len(usual) == 2
    assert features.notes(frame(*((*trip, NOON) for trip in usual))).tolist() == [None, None]
    if name == "full":
        assert [trip[:2] for trip in usual] == [(2, 1), (2, 1)]
        assert usual[0][2] == pytest.approx(3.0, abs=0.1)


def test_features_that_know_no_zone_have_no_usual_trip():
    """No trip of the month can be used for the map."""
    assert fit(FEATURE_SETS["full"], [[trips((1, 1, 0.0, NOON, 10.0))]]).usual_trips() == []


def test_the_columns_of_one_trip(street):
    """Half past twelve on a Wednesday; eight miles driven between zones seven miles apart are a mile's detour."""
    found = one(street, 1, 3, 8.0, NOON)
    assert found["minute_of_day"] == 750 and found["day_of_week"] == 2 and found["holiday"] == 0
    assert found["map_distance"] == pytest.approx(7.0, abs=0.05)
    assert found["trip_distance"] == 8.0
    assert found["detour"] == pytest.approx(1.0, abs=0.05)
    start = [found[f"pickup_map_{axis}"] for axis in "abcd"]
    end = [found[f"dropoff_map_{axis}"] for axis in "abcd"]
    assert np.linalg.norm(np.subtract(start, end)) == pytest.approx(found["map_distance"], rel=1e-6)


@pytest.mark.parametrize(
    ("pickup", "minute", "day", "holiday"),
    [
        ("2023-01-02 00:00:00", 0, 0, 1),  # a Monday, New Year's Day kept
        ("2023-01-08 23:59:59", 1439, 6, 0),
        ("1969-12-31 23:59:59", 1439, 2, 1),  # before 1970 days count downwards
    ],
)
def test_clock_and_calendar(street, pickup, minute, day, holiday):
    """Minutes from midnight, days from Monday, on both sides of 1970."""
    found = one(street, 1, 2, 3.0, pickup)
    assert (found["minute_of_day"], found["day_of_week"], found["holiday"]) == (minute, day, holiday)


@pytest.mark.parametrize("miles", [0.0, 100.01, 178919.98, None, -1.0])
def test_a_distance_that_is_none_is_missing(street, miles):
    """Zero, absurd and null distances are NaN for the model, and so is the detour."""
    found = one(street, 1, 2, miles, NOON)
    assert np.isnan(found["trip_distance"]) and np.isnan(found["detour"])
    assert found["map_distance"] == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("zone", [0, 266, -4, 10**12, None, 1.5, 200])
def test_an_unknown_zone_is_nowhere(street, zone):
    """Also one of TLC's that the training months never saw (200): the rest of the trip still counts."""
    found = one(street, zone, 2, 3.0, NOON)
    assert np.isnan(found["pickup_map_a"]) and np.isnan(found["map_distance"]) and np.isnan(found["detour"])
    assert not np.isnan(found["dropoff_map_a"]) and found["trip_distance"] == 3.0


@pytest.mark.parametrize("kind", ["Int64", "float64", "object"])
def test_zones_of_any_type_are_the_same(street, kind):
    """Nullable, floating and mixed columns as JSON and pandas give them."""
    given = frame((1, 2, 3.0, NOON), (2, 3, 4.0, NOON))
    expected = street.transform_frame(given)
    found = street.transform_frame(given.astype({"PULocationID": kind, "DOLocationID": kind}))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("moment", ["2023-01-04 12:30:59", "1969-12-31 23:59:59.999999"])
def test_times_of_any_type_are_the_same(street, moment):
    """Text, with a time zone, and every unit that holds them; what is finer than a microsecond is cut off."""
    given = frame((1, 2, 3.0, moment))
    expected = street.transform_frame(given)
    times = pd.to_datetime(given["pickup_datetime"]).astype("datetime64[ns]")
    units = ["datetime64[us]", "datetime64[ns]"] if "." in moment else ["datetime64[s]", "datetime64[ms]"]
    for form in [times.astype(unit) for unit in units] + [
        times + pd.Timedelta(999),
        times.dt.tz_localize("Asia/Tokyo"),
    ]:
        found = street.transform_frame(given.assign(pickup_datetime=form))
        assert all(np.array_equal(found[name], expected[name]) for name in expected), form.dtype


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"pickup_datetime": None}, "1 of 1 trips have no pickup time\nGive one for each trip."),
        ({"pickup_datetime": "yesterday"}, "pickup times cannot be read"),
        ({"PULocationID": "Harlem"}, "column PULocationID does not hold numbers"),
    ],
)
def test_a_trip_that_cannot_be_read_is_refused(street, change, error):
    """With the column's name and what to give."""
    given = frame((1, 2, 3.0, NOON)).astype(object).assign(**change)
    with pytest.raises(FeatureError) as raised:
        street.transform_frame(given)
    assert str(raised.value).startswith(error)


def test_an_absent_column_is_named(street):
    """Not a KeyError of pandas'."""
    with pytest.raises(FeatureError, match="the trips have no column DOLocationID, trip_distance\n"):
        street.transform_frame(frame((1, 2, 3.0, NOON)).drop(columns=["DOLocationID", "trip_distance"]))


def test_before_the_trip_no_distance_is_needed():
    """`pickup` answers a booking, which has none."""
    features = fit(FEATURE_SETS["pickup"], [[trips((1, 2, 3.0, NOON, 10.0))]])
    found = features.transform_frame(frame((1, 2, 3.0, NOON)).drop(columns="trip_distance"))
    assert "trip_distance" not in found and found["map_distance"][0] == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_served_trips_get_the_bits_of_the_dataset(name, tlc):
    """On a real month: a batch, a DataFrame of it, and its trips one by one."""
    feature_set = FEATURE_SETS[name]

    def batches(month: str) -> list[pa.RecordBatch]:
        path = tlc / file_name("green", month)
        return list(kept_trips(Month("green", month, path, "", ""), feature_set.in_month, Counter()))

    features = fit(feature_set, [batches("2023-01")])
    [batch] = batches("2023-03")
    expected = features.transform(batch)
    asked = pa.Table.from_batches([batch]).to_pandas()
    for found, rows in [(features.transform_frame(asked), slice(None))] + [
        (features.transform_frame(asked.iloc[[row]]), slice(row, row + 1)) for row in range(0, len(asked), 3001)
    ]:
        for column in expected.schema.names:
            assert found[column].tobytes() == expected[column].to_numpy()[rows].tobytes()


def test_course_features_are_those_of_dictvectorizer():
    """Pairs sorted as texts ("10_7" before "2_1"), one 1 a row, a pair never seen none, distances as they are."""
    from sklearn.feature_extraction import DictVectorizer

    rows = [(2, 1, 0.0, NOON, 5.0), (10, 7, 178919.98, NOON, 9.0), (2, 1, 1.5, NOON, 6.0)]
    new = (7, 10, 2.5, NOON, 7.0)
    features = fit(FEATURE_SETS["course"], [[trips(*rows)]])
    theirs = DictVectorizer().fit([{"PU_DO": f"{a}_{b}", "trip_distance": miles} for a, b, miles, *_ in rows])
    expected = theirs.transform([{"PU_DO": f"{a}_{b}", "trip_distance": miles} for a, b, miles, *_ in [*rows, new]])
    found = features.matrix(features.transform_frame(frame(*rows, new)))
    assert features.labels == tuple(theirs.feature_names_) == ("PU_DO=10_7", "PU_DO=2_1", "trip_distance")
    assert found.toarray().tolist() == expected.toarray().tolist()
    assert found.indices.tolist() == expected.indices.tolist() and found.dtype == expected.dtype


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_saved_features_come_back_the_same(name, tmp_path):
    """The same columns, and the same bytes however the training trips were cut into batches."""
    rows = [(1, 2, 3.0, NOON, 10.0), (2, 3, 4.0, NOON, 12.0), (1, 3, 6.5, NOON, 20.0)]
    fit(FEATURE_SETS[name], [[trips(*rows)]]).save(tmp_path / "a")
    fit(FEATURE_SETS[name], [[trips(row)] for row in reversed(rows)]).save(tmp_path / "b")
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    saved, loaded = fit(FEATURE_SETS[name], [[trips(*rows)]]), FeatureMap.load(tmp_path / "a")
    asked = frame(*rows, (3, 9, 1.0, NOON))
    before, after = saved.transform_frame(asked), loaded.transform_frame(asked)
    assert {k: v.tobytes() for k, v in before.items()} == {k: v.tobytes() for k, v in after.items()}


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


AXES = ["miles_0", "miles_1", "miles_2", "miles_3"]
NOT_FEATURES = {
    "no definition": (lambda f: (f / "features.json").unlink(), "does not hold fitted features"),
    "no table": (lambda f: (f / "zones.parquet").unlink(), "does not hold fitted features"),
    "not JSON": (lambda f: (f / "features.json").write_text("{"), "does not hold fitted features"),
    "a list": (lambda f: (f / "features.json").write_text("[]"), "does not hold fitted features"),
    "not Parquet": (lambda f: (f / "zones.parquet").write_bytes(b"no"), "does not hold fitted features"),
    "zone 266": (
        lambda f: pq.write_table(pa.table({"zone": [266], **{axis: [0.0] for axis in AXES}}), f / "zones.parquet"),
        "zone has zones outside 1..265",
    ),
    "an older schema": (lambda f: _edit(f / "features.json", schema=1), "another version of this project"),
    "other columns": (lambda f: _edit(f / "features.json", columns=["x"]), "another version of this project"),
    "another set": (lambda f: _edit(f / "features.json", feature_set="empty"), "another version of this project"),
}


@pytest.mark.parametrize("damage", NOT_FEATURES)
def test_a_folder_that_holds_no_features_is_refused(damage, street, tmp_path):
    """Whatever is wrong with it, one error that says what to do."""
    street.save(tmp_path)
    change, error = NOT_FEATURES[damage]
    change(tmp_path)
    with pytest.raises(FeatureError, match=error):
        FeatureMap.load(tmp_path)


LEAKS = {
    "uses what is known later": (
        Column("detour", "booking", ("trip_distance",), "miles"),
        "feature detour is declared known at booking, but uses trip_distance, known at dropoff\n",
    ),
    "uses the answer": (
        Column("speed", "dropoff", ("trip_distance", "duration"), "miles an hour"),
        "feature speed uses duration, which is not known before the answer is\n",
    ),
    "is known later than its set": (
        Column("trip_distance", "dropoff", ("trip_distance",), "miles"),
        "feature set mine is declared known at booking, but trip_distance is known at dropoff\n",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_set_that_breaks_its_declaration_is_refused(leak):
    """Before anything is fitted, naming the column."""
    column, error = LEAKS[leak]
    with pytest.raises(FeatureError) as raised:
        fit(FeatureSet("mine", "booking", "zones", (column,)), [])
    assert str(raised.value).startswith(error)


def test_the_sets_keep_what_they_declare():
    """`pickup` knows nothing of the meter, `full` the same and the meter."""
    for feature_set in FEATURE_SETS.values():
        feature_set.check()
    late = {column.name for column in FEATURE_SETS["full"].columns} - {c.name for c in FEATURE_SETS["pickup"].columns}
    assert late == {"trip_distance", "detour"}
    with pytest.raises(FeatureError):
        replace(FEATURE_SETS["full"], known="booking").check()
