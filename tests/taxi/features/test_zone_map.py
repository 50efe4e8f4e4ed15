"""The zone map: what is counted, and what is drawn from it."""

import numpy as np
import pyarrow as pa
import pytest

from taxi.features.feature_map import ZONE_IDS
from taxi.features.zone_map import DIMENSIONS, DistanceSums, map_miles
from taxi.months.trips import VALID_SCHEMA


def trips(*rows) -> pa.RecordBatch:
    """Valid trips from (pickup zone, drop-off zone, miles, minutes)."""
    pickup_zone, dropoff_zone, miles, minutes = zip(*rows, strict=True)
    pickup = np.full(len(rows), np.datetime64("2023-01-02T08:00:00", "us"))
    columns = (pickup_zone, dropoff_zone, miles, pickup, minutes)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, VALID_SCHEMA, strict=True)], schema=VALID_SCHEMA
    )


def drawn(*rows) -> np.ndarray:
    sums = DistanceSums()
    sums.add(trips(*rows))
    return sums.result()


def miles(places: np.ndarray, a: int, b: int) -> float:
    return float(map_miles(places[[a]], places[[b]])[0])


def test_both_ways_between_two_zones_are_one_sum():
    """1.00 mile there and 3.00 back: two trips, 400 hundredths, under the smaller zone first."""
    sums = DistanceSums()
    sums.add(trips((7, 4, 1.0, 10), (4, 7, 3.0, 10)))
    assert {int(key): int(sums.trips[key]) for key in np.flatnonzero(sums.trips)} == {4 * ZONE_IDS + 7: 2}
    assert sums.centimiles[4 * ZONE_IDS + 7] == 400


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ((1, 2, 0.04, 5), False),  # the meter was not started
        ((1, 2, 0.05, 5), True),
        ((1, 2, 60.0, 45), True),  # exactly 80 miles an hour
        ((1, 2, 60.0, 44.9), False),  # faster
        ((1, 2, 61.0, 60), False),  # farther than the meter can be right
        ((3, 3, 1.0, 5), False),  # says nothing of two zones
    ],
)
def test_only_plausible_distances_count(row, counts):
    """Meters never started, impossible speeds and trips within a zone are left out."""
    sums = DistanceSums()
    sums.add(trips(row))
    assert bool(sums.trips.sum()) is counts


def test_two_zones_are_as_far_apart_as_their_mean_trip():
    """Trips of 2 and 4 miles: 3 miles on the map."""
    assert miles(drawn((10, 20, 2.0, 10), (20, 10, 4.0, 20)), 10, 20) == pytest.approx(3.0, abs=1e-3)


def test_zones_of_a_straight_street_lie_on_a_line():
    """1 and 1 mile make 2, if that is what taxis measure end to end."""
    places = drawn((1, 2, 1.0, 5), (2, 3, 1.0, 5), (1, 3, 2.0, 10))
    assert [miles(places, *pair) for pair in ((1, 2), (2, 3), (1, 3))] == pytest.approx([1, 1, 2], abs=0.02)


def test_a_zone_without_trips_is_nowhere():
    """Nowhere is NaN, for zone 0 (unknown) always."""
    places = drawn((1, 2, 1.0, 5), (5, 5, 1.0, 5))
    assert np.flatnonzero(~np.isnan(places).any(axis=1)).tolist() == [1, 2]
    assert places.dtype == np.float32 and places.shape == (ZONE_IDS, DIMENSIONS)


def test_no_usable_trip_draws_an_empty_map():
    """No division by zero, no warning."""
    assert np.isnan(drawn((1, 1, 1.0, 5))).all()


def test_a_map_of_any_graph_is_finite():
    """Chains, stars and crowds settle; a step too long would grow without end."""
    rng = np.random.default_rng(3)
    for zones in (3, 6, 40, 265):
        pairs = rng.integers(1, zones + 1, (400, 2))
        pairs[: zones - 1, 0], pairs[: zones - 1, 1] = np.arange(1, zones), np.arange(2, zones + 1)
        places = drawn(*((a, b, round(float(rng.uniform(0.05, 20)), 2), 60) for a, b in pairs.tolist()))
        on_map = places[~np.isnan(places).any(axis=1)]
        assert len(on_map) == zones and np.abs(on_map).max() < 100


def test_a_city_is_drawn_as_it_is():
    """Ninety places in the plane, three in ten pairs driven: all are as far apart on the map as they are.

    Steps not accelerated are 0.06 miles off, an acceleration that never begins anew 0.005, half the rounds 0.02.
    """
    rng = np.random.default_rng(5)
    city = rng.uniform(0, 12, (90, 2))
    apart = np.linalg.norm(city[:, None] - city, axis=2)
    driven = np.argwhere(np.triu(rng.random((90, 90)) < 0.3, 1)).tolist()
    places = drawn(*((a + 1, b + 1, apart[a, b], 60) for a, b in driven if apart[a, b] > 0.1))[1:91]
    on_map = np.linalg.norm(places[:, None] - places, axis=2)
    assert np.median(np.abs(on_map - apart)[np.triu_indices(90, 1)]) < 0.004


def test_the_map_does_not_depend_on_order_or_batches():
    """The same bits, row by row backwards."""
    rng = np.random.default_rng(4)
    rows = [(int(a), int(b), float(m), 30.0) for a, b, m in zip(
        rng.integers(1, 9, 200), rng.integers(1, 9, 200), rng.uniform(0, 9, 200), strict=True)]  # fmt: skip
    piecewise = DistanceSums()
    for row in reversed(rows):
        piecewise.add(trips(row))
    assert piecewise.result().tobytes() == drawn(*rows).tobytes()
