"""Leaks found by trying: columns that change with what they do not declare, columns that know the answer."""

import numpy as np
import pyarrow as pa
import pytest

from taxi.features.fitting import FEATURE_SETS, Column, FeatureError, FeatureSet, MapFeatures, fit
from taxi.features.leaks import check_declarations, leak_warnings, spread
from taxi.months.trips import VALID_SCHEMA

ROWS = 2_000


@pytest.fixture(scope="module")
def trips() -> pa.RecordBatch:
    """Trips of a made-up hour: zones 1 to 9, a mile in four minutes more or less."""
    rng = np.random.default_rng(5)
    zones = rng.integers(1, 10, (2, ROWS))
    miles = np.round(rng.gamma(3, 1, ROWS), 2)
    pickup = np.datetime64("2023-01-02T08:00:00", "us") + rng.integers(0, 10**6, ROWS).astype("timedelta64[s]")
    minutes = np.clip(np.round(4 * miles + rng.normal(0, 3, ROWS)), 1, 60)
    columns = (*zones, miles, pickup, minutes)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, VALID_SCHEMA, strict=True)], schema=VALID_SCHEMA
    )


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_our_features_use_what_they_declare(name, trips):
    """No column of any set changes with a field that it does not name."""
    check_declarations(fit(FEATURE_SETS[name], [[trips]]), trips)


class Careless(MapFeatures):
    """Says that it uses the pickup time, and looks at the meter."""

    learns = "careless"

    def _columns(self, pickup_zone, dropoff_zone, miles, microseconds) -> dict[str, np.ndarray]:
        return {"hour": (microseconds // 3_600_000_000 + (miles > 2)).astype(np.float32)}


def test_a_column_that_changes_with_what_it_does_not_declare_is_refused(trips):
    """The declaration passes, the deed does not."""
    hour = FeatureSet("mine", "booking", "careless", (Column("hour", "booking", ("pickup_datetime",), "hours"),))
    with pytest.raises(FeatureError) as error:
        check_declarations(Careless(hour, np.empty(0)), trips)
    assert str(error.value).startswith("feature hour changes with trip_distance, known at dropoff, but does not")


def test_what_is_looked_at_is_spread_over_the_batch(trips):
    """Of months in order of time the first trips are all of one day, on which a day's features all agree."""
    looked = spread(trips, 700)
    assert looked.num_rows == 700 and looked.slice(699).equals(trips.slice(2 * 699, 1))
    assert spread(trips, ROWS + 1).equals(trips)


def told(**columns: np.ndarray) -> list[str]:
    rng = np.random.default_rng(6)
    minutes = rng.gamma(4, 4, ROWS)
    chance = {"noise": rng.normal(size=ROWS), "missing": np.full(ROWS, np.nan), "same": np.ones(ROWS)}
    return leak_warnings(chance | {name: column(minutes) for name, column in columns.items()}, minutes)


def test_honest_columns_are_not_warned_of():
    """A column that explains half, columns of chance, of nothing and of one value."""
    rng = np.random.default_rng(7)
    assert told(half=lambda minutes: minutes + rng.normal(0, 8, ROWS)) == []


def test_codes_by_the_thousand_explain_nothing():
    """A code a trip fits any answer, but not that of other trips."""
    assert told(code=lambda minutes: np.random.default_rng(8).permutation(ROWS)) == []


def test_a_column_that_knows_the_answer_is_named():
    """The fare, for instance: a straight line of the duration."""
    assert told(fare=lambda minutes: 3 + 0.7 * minutes) == [
        "fare alone explains 100% of the durations: known before the trip?"
    ]


def test_a_bent_column_that_knows_the_answer_is_named():
    """No line would show it: cells do."""
    [line] = told(bent=lambda minutes: np.where(minutes > 16, -minutes, minutes) ** 3)
    assert line.startswith("bent alone explains 9")


def test_two_columns_that_know_the_answer_together_are_named():
    """Drop-off time and pickup time, of which neither tells anything alone."""
    start = np.random.default_rng(9).uniform(0, 1e6, ROWS)
    assert told(start=lambda minutes: start, end=lambda minutes: start + minutes) == [
        "start and end alone explain 100% of the durations: known before the trip?"
    ]
