"""The embedded default: the same bytes always, TLC's own schema and defects, and a floor that is the floor."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi.city import rides, sample, streets, tlc_format
from taxi.city.meter import meter_records
from taxi.months.month import Month, file_name
from taxi.months.trips import VALID_SCHEMA, kept_trips


def month(folder: Path, taxi: str = "green", name: str = "2023-01", rows: int = sample.ROWS) -> Month:
    path = folder / file_name(taxi, name)
    sample.write_month(path, taxi, name, rows)
    return Month(taxi, name, path, hashlib.sha256(path.read_bytes()).hexdigest(), f"sample:{rows}")


@pytest.fixture(scope="module")
def january(tmp_path_factory) -> Month:
    return month(tmp_path_factory.mktemp("sample"))


# Bytes


@pytest.mark.parametrize(
    ("taxi", "name", "digest"),
    [
        ("green", "2023-01", "51cb536cfd0bbea8df3206cd62054ff884e42531ba9f751cec3665791788afb7"),
        ("yellow", "2023-02", "910cf2440e158bb38567781503cfced051697be33330d3c3df9c262be7319dc4"),
    ],
)
def test_a_month_is_the_same_bytes_everywhere(tmp_path, taxi, name, digest):
    """A change on purpose raises sample.VERSION and renews these: finished runs were made from other trips."""
    assert sample.VERSION == "city 1"
    assert month(tmp_path, taxi, name, rows=5_000).digest == digest


def test_chunks_do_not_depend_on_each_other():
    """The second chunk of a month can be drawn without the first, so a month can be streamed."""
    rows = rides.CHUNK + 1_000
    alone = tlc_format.table("green", "2023-01", rows, 1)
    tlc_format.table("green", "2023-01", rows, 0)
    assert tlc_format.table("green", "2023-01", rows, 1) == alone
    assert alone.num_rows == 1_000


def test_a_month_of_several_chunks_has_its_rows_in_order_of_time(tmp_path):
    """One row group a chunk, and pickups run through the month once."""
    file = pq.ParquetFile(month(tmp_path, rows=rides.CHUNK + 1_000).path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [rides.CHUNK, 1_000]
    pickup = file.read(["lpep_pickup_datetime"]).column(0).to_numpy()
    assert (np.diff(pickup.astype("int64")) < 0).mean() < 0.002


def test_a_month_is_whole_or_absent(tmp_path, monkeypatch):
    """An error in the middle leaves neither the file nor a part of it."""
    made = tlc_format.table

    def failing(taxi, name, rows, chunk):
        if chunk == 1:
            raise OSError("disk full")
        return made(taxi, name, rows, chunk)

    monkeypatch.setattr(tlc_format, "table", failing)
    with pytest.raises(OSError, match="disk full"):
        month(tmp_path, rows=2 * rides.CHUNK)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path):
    """Three million rows take at most a quarter more than three hundred thousand."""
    peaks = []
    for rows in (300_000, 3_000_000):
        code = (
            "import resource; from pathlib import Path; from taxi.city.sample import write_month\n"
            f"write_month(Path({str(tmp_path)!r}) / 'm.parquet', 'green', '2023-01', {rows})\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        root = Path(__file__).parents[3]
        peaks.append(
            int(subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True).stdout)
        )
    assert peaks[1] < 1.25 * peaks[0]


# Schema and defects


@pytest.mark.parametrize("name", ["2021-01", "2021-02", "2023-01", "2023-02", "2023-03"])
def test_the_schema_is_that_of_the_real_file(tlc, name):
    """Names, order and types, as they drift from month to month."""
    real = pq.read_schema(tlc / file_name("green", name)).remove_metadata()
    assert tlc_format.schema("green", name) == real


def test_types_drift_between_months():
    """A chain that reads January and February meets both vintages, of either taxi."""
    for taxi in ("green", "yellow"):
        before, after = tlc_format.schema(taxi, "2023-01"), tlc_format.schema(taxi, "2023-02")
        assert (before.field("PULocationID").type, after.field("PULocationID").type) == (pa.int64(), pa.int32())
        assert (before.field("store_and_fwd_flag").type, after.field("store_and_fwd_flag").type) == (
            pa.string(),
            pa.large_string(),
        )
    assert len(tlc_format.schema("green", "2023-01")) == 20
    assert len(tlc_format.schema("yellow", "2023-01")) == 19


def test_a_month_has_every_defect_of_the_real_files(january):
    """Each is dropped under its reason, in about the real files' share."""
    dropped = Counter()
    kept = pa.Table.from_batches(kept_trips(january, True, dropped), VALID_SCHEMA)
    assert set(dropped) == {"no trip_distance", "drop-off before pickup", "shorter than 1 minute",
                            "longer than 60 minutes", "pickup outside the month"}  # fmt: skip
    assert 0.94 < kept.num_rows / sample.ROWS < 0.98  # real: 0.967
    miles = kept["trip_distance"].to_numpy()
    assert 0.02 < (miles == 0).mean() < 0.04  # real: 0.033
    assert (miles > 100).any()
    raw = pq.read_table(january.path)
    assert 0.05 < raw["passenger_count"].null_count / sample.ROWS < 0.08  # real: 0.063
    minutes = (raw["lpep_dropoff_datetime"].to_numpy() - raw["lpep_pickup_datetime"].to_numpy()).astype("int64") / 60e6
    assert (minutes < 0).any()
    assert (minutes > 23 * 60).any()


@pytest.mark.parametrize("name", ["2023-12", "2024-02", "2023-02", "2009-01"])
def test_rides_begin_within_their_month(name):
    """Whatever its length; only broken clocks say otherwise."""
    records, _ = meter_records("green", name, 20_000, 0)
    pickup = records.pickup[records.clock_right]
    start = np.datetime64(name)
    assert (start <= pickup.min()) & (pickup.max() < start + 1)
    assert pickup.max() > np.datetime64(start + 1, "s") - np.timedelta64(6, "h")
    assert not ((start <= records.pickup) & (records.pickup < start + 1)).all()


def test_some_pairs_of_zones_are_new_in_the_next_month():
    """A model must cope with pairs it never saw, as on real months (5 % of trips)."""
    seen, met = (rides.draw_rides("green", name, sample.ROWS, 0)[0] for name in ("2023-01", "2023-02"))
    pairs = set(zip(seen.pickup_zone.tolist(), seen.dropoff_zone.tolist(), strict=True))
    new = [pair not in pairs for pair in zip(met.pickup_zone.tolist(), met.dropoff_zone.tolist(), strict=True)]
    assert 0.01 < np.mean(new) < 0.08


# The city


def test_every_zone_can_be_reached_and_none_by_less_than_a_straight_line():
    """Routes follow streets: finite, at least as long as the crow flies, and never slower by a detour."""
    here = streets.city()
    straight = np.linalg.norm(here.position[:, None] - here.position, axis=2)
    assert np.isfinite(here.minutes).all()
    assert (here.miles >= straight - 1e-4).all()
    rush = here.minutes[8]
    assert (rush[:, None, :] <= rush[:, :, None] + rush[None] + 1e-3).all()


def test_rush_hours_slow_the_way_they_go():
    """In the morning the way to the centre is the slow one, in the evening the way out; Sundays are calm."""
    here = streets.city()
    middle, edge = np.argmax(here.centrality), np.argmin(here.centrality)
    night, morning, evening = (here.minutes[hour] for hour in (3, 8, 17))
    assert morning[edge, middle] > 1.2 * night[edge, middle]
    assert morning[edge, middle] > morning[middle, edge]
    assert evening[middle, edge] > evening[edge, middle]
    sunday = here.minutes[streets.DAYS.index("Sunday") * 24 + 8]
    assert sunday[edge, middle] < morning[edge, middle]


def test_the_river_is_crossed_at_bridges_only():
    """Two zones face to face across the river are farther apart than along one bank."""
    here = streets.city()
    east = here.position[:, 0] > streets.RIVER
    straight = np.linalg.norm(here.position[:, None] - here.position, axis=2) + np.eye(streets.CITY_ZONES)
    detour = here.miles[3] / straight
    near = straight < 2.5
    across = east[:, None] != east
    assert np.median(detour[near & across]) > np.median(detour[near & ~across & (straight > 0.5)])


# The floor


def one_ride(route_minutes: float, detour: float = 1.0, n: int = 1) -> rides.Rides:
    zeros = np.zeros(n, int)
    route_miles = np.full(n, 3.0)
    return rides.Rides(zeros, zeros, zeros, route_miles * detour, zeros, np.full(n, route_minutes), route_miles)


@pytest.mark.parametrize("route_minutes", [0.5, 4.0, 20.0, 58.0, 90.0])
def test_the_forecast_of_a_ride_is_the_mean_of_its_kept_minutes(route_minutes):
    """Compared with the gamma density summed over a fine grid from 1 to 60 minutes."""
    shape = (rides.DOOR_MINUTES + route_minutes * 1.2**rides.DETOUR_TIME) / rides.WAIT_MINUTES
    minutes = np.linspace(1, 60, 200_001)
    log_density = (shape - 1) * np.log(minutes) - minutes / rides.WAIT_MINUTES
    weight = np.exp(log_density - log_density.max())
    ride = one_ride(route_minutes, detour=1.2)
    assert rides.expected_minutes(ride, np.array([True]))[0] == pytest.approx(
        (minutes * weight).sum() / weight.sum(), rel=1e-4
    )


def test_without_the_distance_the_forecast_averages_over_detours():
    """Compared with a million rides drawn: detour, wait, and only those kept."""
    rng = np.random.default_rng(1)
    mean = rides.mean_minutes(40.0, np.exp(rides.DETOUR * rng.standard_normal(1_000_000)))
    minutes = rides.WAIT_MINUTES * rng.standard_gamma(mean / rides.WAIT_MINUTES)
    kept = minutes[(minutes >= 1) & (minutes <= 60)]
    forecast = rides.expected_minutes(one_ride(40.0), np.array([False]))[0]
    assert forecast == pytest.approx(kept.mean(), abs=5 * kept.std() / len(kept) ** 0.5)


def test_the_forecast_is_right_on_average_wherever_one_looks():
    """In each tenth of a month, by forecast, what is left is noise about zero: nothing more could be known."""
    records, _ = meter_records("yellow", "2023-02", 100_000, 0)
    minutes = records.rides.seconds / 60
    forecast = rides.expected_minutes(records.rides, records.miles_right)
    kept = records.clock_right & (minutes >= 1) & (minutes <= 60)
    order = np.argsort(forecast[kept])
    for tenth in np.array_split((minutes - forecast)[kept][order], 10):
        assert abs(tenth.mean()) < 4.5 * tenth.std() / len(tenth) ** 0.5


def test_the_floor_is_the_error_of_the_forecast_on_the_rows_of_the_file(january):
    """The same rows as `kept_trips`: counted, and the same minutes."""
    records, _ = meter_records("green", "2023-01", sample.ROWS, 0)
    minutes = records.rides.seconds / 60
    kept = records.clock_right & ~records.miles_missing & (minutes >= 1) & (minutes <= 60)
    read = pa.Table.from_batches(kept_trips(january, True, Counter()), VALID_SCHEMA)
    assert np.array_equal(read["duration"], minutes[kept])
    error = minutes - rides.expected_minutes(records.rides, records.miles_right)
    assert sample.noise_floor("green", ["2023-01"]) == pytest.approx(np.sqrt(np.mean(error[kept] ** 2)), rel=1e-12)


def test_the_floor_is_of_a_realistic_size():
    """Between 2.5 and 4 minutes, higher for who does not know the distance, the same for a larger month."""
    floor = sample.noise_floor("green", ["2023-03"])
    assert 2.5 < floor < 4
    assert sample.noise_floor("green", ["2023-03"], distance_known=False) > 1.05 * floor
    assert sample.noise_floor("green", ["2023-03"], rows=300_000) == pytest.approx(floor, rel=0.03)


def test_boosting_with_its_defaults_comes_within_five_per_cent_of_the_floor(tmp_path):
    """The sample can be learnt from one month: it is neither noise nor an identity."""
    from taxi.dataset import dataset
    from taxi.features import fitting
    from taxi.models import families

    (tmp_path / "dataset").mkdir()
    splits = {
        "train": [month(tmp_path)],
        "val": [month(tmp_path, name="2023-02")],
        "test": [month(tmp_path, name="2023-03")],
    }
    dataset.build(splits, fitting.FEATURE_SETS["full"], tmp_path / "dataset")
    train, val, test = (dataset.Dataset.open(tmp_path / "dataset").load(split) for split in splits)
    family = families.FAMILIES["xgboost"]
    model = family.fit(train, val, family.default_params("full"), 42, threads=1)
    rmse = float(np.sqrt(np.mean((model.predict(test.X) - test.y) ** 2)))
    assert 1.0 < rmse / sample.noise_floor("green", ["2023-03"]) < 1.05
