"""How far months moved from others, and which trips carry the change of an error: numbers worked out by hand."""

import json
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from taxi.evaluation.drift import COLUMNS, Bins, Profile, shift, shifts, unseen
from taxi.evaluation.error_shift import SLICINGS, Errors, carried, change
from taxi.features.feature_map import ZONE_IDS
from taxi.months.trips import VALID_SCHEMA

MONDAY = datetime(2023, 1, 2, 8)
EVERY = frozenset({"PULocationID", "DOLocationID", "trip_distance", "pickup_datetime"})
COIN = Bins("coin", "coin", ("heads", "tails"))


def trips(*rows: tuple) -> pa.RecordBatch:
    """Valid trips (pickup zone, drop-off zone, miles, hours after Monday 8:00, minutes)."""
    pickup_zone, dropoff_zone, miles, hours, minutes = (list(column) for column in zip(*rows, strict=True))
    pickup = pa.array([MONDAY + timedelta(hours=hour) for hour in hours], pa.timestamp("us"))
    columns = [pa.array(pickup_zone, pa.int32()), pa.array(dropoff_zone, pa.int32()), pa.array(miles, pa.float64())]
    return pa.record_batch([*columns, pickup, pa.array(minutes, pa.float64())], schema=VALID_SCHEMA)


def profile(*rows: tuple) -> Profile:
    made = Profile()
    made.add(trips(*rows))
    return made


def test_psi_and_ks_are_those_of_the_textbook():
    """Half of 10,000 trips before, 6,000 now: PSI is 0.1 ln 1.2 + 0.1 ln 1.25, but for half a trip; KS is 0.1."""
    found = shift(COIN, np.array([5000, 5000]), np.array([6000, 4000]))
    assert found.psi == pytest.approx(0.1 * np.log(1.2) + 0.1 * np.log(1.25), rel=1e-3)
    assert found.ks == pytest.approx(0.1)
    assert found.most[0] == ("tails", 0.5, 0.4)


@pytest.mark.parametrize(("now", "level"), [((520, 480), "steady"), ((700, 300), "moved"), ((900, 100), "moved far")])
def test_a_column_moves_by_degrees(now, level):
    """PSI 0.0016, 0.17 and 0.88."""
    assert shift(COIN, np.array([500, 500]), np.array(now)).level == level


def test_two_samples_of_one_city_have_not_moved():
    """Of 200 pairs of 300 trips over 60 zones, at most 5 seem to have moved, though PSI alone is above 0.1 in most."""
    random = np.random.default_rng(1)
    zones = Bins("zone", "zone", tuple(map(str, range(60))), ordered=False)
    share = random.dirichlet(np.full(60, 5.0))
    found = [shift(zones, *random.multinomial(300, share, size=2)) for _ in range(200)]
    assert sum(item.psi > 0.1 for item in found) > 100
    assert sum(item.level != "steady" for item in found) <= 5


def test_only_columns_that_the_model_knows_are_compared():
    """A model of what is known at pickup cannot drift with the meter; the durations are always told."""
    made = profile((74, 75, 1.0, 0, 9.0))
    assert {item.column for item in shifts(made, made, EVERY)} == {column.name for column in COLUMNS}
    assert {item.column for item in shifts(made, made, frozenset({"PULocationID"}))} == {"PULocationID", "duration"}


def test_a_profile_is_the_same_however_the_trips_are_cut():
    """Batches of any size, in any order."""
    rows = [(zone, zone + 1, 0.1 * zone, zone, 1.0 + zone % 59) for zone in range(1, 100)]
    whole, parts = profile(*rows), Profile()
    for start in (50, 0, 70):
        parts.add(trips(*rows[start : {50: 70, 0: 50, 70: 99}[start]]))
    assert parts.trips == whole.trips == 99
    assert all(np.array_equal(parts.counts[name], whole.counts[name]) for name in whole.counts)
    assert np.array_equal(parts.pairs, whole.pairs)


def test_every_trip_is_counted_in_every_column():
    """The longest trip kept, no distance and an absurd one, the first and the last zone."""
    made = profile((1, 265, 0.0, 0, 1.0), (265, 1, 178919.98, 15, 60.0))
    assert {int(counted.sum()) for counted in made.counts.values()} == {2}
    hour, day = made.counts["hour"], made.counts["weekday"]
    assert [hour[8], hour[23], day[0]] == [1, 1, 2]


def test_unseen_zones_and_pairs_are_shares_of_the_new_trips():
    """75 to 74 is a new pair of known zones; 10 is a new zone in a new pair."""
    before = profile((74, 75, 1.0, 0, 9.0), (75, 75, 1.0, 0, 9.0), (74, 74, 1.0, 0, 9.0))
    now = profile((75, 74, 1.0, 0, 9.0), (74, 75, 1.0, 0, 9.0), (10, 75, 1.0, 0, 9.0), (74, 74, 1.0, 0, 9.0))
    assert unseen(before, now) == {"PULocationID": 0.25, "DOLocationID": 0.0, "pair": 0.5}


def errors(pairs: np.ndarray, *rows: tuple) -> Errors:
    """Trips as in `trips`, each with its predicted minutes last."""
    made = Errors(pairs)
    made.add(trips(*(row[:5] for row in rows)), np.array([row[5] for row in rows]))
    return made


def test_the_change_of_the_error_is_split_into_mix_and_error():
    """Twice as many long trips (squared error 4 instead of 1), which are predicted worse than before (9)."""
    none = np.zeros(ZONE_IDS * ZONE_IDS, np.int64)
    short, long = (74, 75, 0.5, 0, 10.0), (74, 75, 3.0, 0, 10.0)
    before = errors(none, *[(*short, 11.0)] * 3, (*long, 12.0))
    now = errors(none, *[(*short, 11.0)] * 2, *[(*long, 13.0)] * 2)
    assert (before.mse, now.mse, now.mae, now.bias) == (7 / 4, 5.0, 2.0, 2.0)
    by_distance = {item.label: item for item in carried(before, now, "distance")}
    assert by_distance["2 to 5 miles"].mix == pytest.approx((0.5 - 0.25) * (4 - 7 / 4))
    assert by_distance["2 to 5 miles"].within == pytest.approx(0.5 * (9 - 4))
    assert by_distance["up to 1 mile"].within == 0


def test_the_slices_of_every_kind_add_up_to_the_whole_change():
    """Slices that come and go included."""
    random = np.random.default_rng(7)

    def drawn(n: int, zones: tuple[int, int]) -> Errors:
        rows = [(int(random.integers(*zones)), 75, random.uniform(0, 12), int(random.integers(0, 160)), 10.0,
                 random.normal(10, 3)) for _ in range(n)]  # fmt: skip
        return errors(random.integers(0, 40, ZONE_IDS * ZONE_IDS), *rows)

    before, now = drawn(400, (1, 60)), drawn(300, (40, 90))
    for slicing in SLICINGS:
        total = sum(item.total for item in carried(before, now, slicing))
        assert total == pytest.approx(now.mse - before.mse), slicing


def test_the_interval_of_the_change_holds_what_is_true():
    """400 pairs of samples from one city: about 5 % of the intervals leave out that nothing changed."""
    random, none = np.random.default_rng(3), np.zeros(ZONE_IDS * ZONE_IDS, np.int64)

    def drawn() -> Errors:
        made = Errors(none)
        made.add(trips(*[(74, 75, 1.0, 0, 10.0)] * 300), 10.0 + random.laplace(0, 3, 300))
        return made

    left_out = 0
    for _ in range(400):
        percent, low, high = change(drawn(), drawn())
        assert low < percent < high
        left_out += not low <= 0 <= high
    assert 8 <= left_out <= 36


def test_facts_are_plain_json():
    """Numbers of numpy would end a run at its very end."""
    none = np.zeros(ZONE_IDS * ZONE_IDS, np.int64)
    before, now = (errors(none, (zone, 75, 1.0, 0, 9.0, 10.0)) for zone in (74, 75))
    facts = [item.to_dict() for item in carried(before, now, "pickup zone")]
    facts += [item.to_dict() for item in shifts(profile((74, 75, 1.0, 0, 9.0)), profile((75, 75, 1.0, 0, 9.0)), EVERY)]
    assert json.loads(json.dumps(facts, allow_nan=False)) == json.loads(json.dumps(facts))
