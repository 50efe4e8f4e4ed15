"""The dataset: what is in it by hand, the same bytes whatever way it was made, refused when it is not whole."""

import hashlib
import json
import shutil
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi.dataset import builder, month_files
from taxi.dataset.dataset import Dataset, DatasetError, build
from taxi.features.fitting import FEATURE_SETS, FeatureError
from taxi.months.month import Month, file_name
from taxi.months.trips import SchemaError, kept_trips

FULL, COURSE = FEATURE_SETS["full"], FEATURE_SETS["course"]


@pytest.fixture
def months(month_of, tiny_trips):
    """A function giving the month of a name: twelve trips of January 2023, whatever the name."""
    return lambda name: month_of(tiny_trips, name)


@pytest.fixture
def made(months, tmp_path) -> Dataset:
    """`course` features: January trains, February judges."""
    build({"train": [months("2023-01")], "val": [months("2023-02")]}, COURSE, tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def later(trips: pa.Table, days: int) -> pa.Table:
    """The same trips some days later."""
    for name in ("lpep_pickup_datetime", "lpep_dropoff_datetime"):
        moved = [moment + timedelta(days=days) for moment in trips[name].to_pylist()]
        column = pa.array(moved, pa.timestamp("us"))
        trips = trips.set_column(trips.schema.get_field_index(name), name, column)
    return trips


def test_the_manifest_counts_rows_by_reason(made):
    """Seven of the twelve trips take 1 to 60 minutes, and the course keeps the one picked up in another year."""
    month = made.manifest.record["months"]["2023-01"]
    assert month["read"] == 12 and month["kept"] == 7
    assert month["dropped"] == {
        "drop-off before pickup": 1,
        "longer than 60 minutes": 2,
        "no DOLocationID": 1,
        "shorter than 1 minute": 1,
    }
    assert made.manifest.splits == ("train", "val") and made.manifest.rows("train") == 7
    assert set(made.manifest.record["files"]) == {
        "features/features.json", "features/pairs.parquet", "train/2023-01.parquet", "val/2023-02.parquet"
    }  # fmt: skip


def test_rows_are_those_of_the_months_in_order(made):
    """Durations by hand; the pair of zones one-hot in the order of its name, then the miles."""
    train = made.load("train")
    assert train.y.tolist() == [9.0, 12.5, 1.0, 60.0, 20.0, 6.0, 15.0]
    assert train.columns == (
        "PU_DO=166_166", "PU_DO=166_74", "PU_DO=74_166", "PU_DO=74_75", "PU_DO=75_166", "PU_DO=75_74", "trip_distance"
    )  # fmt: skip
    assert train.X.toarray()[0].tolist() == [0, 0, 0, 1, 0, 0, 1.2]
    assert made.trips("val")["trip_distance"].tolist() == [1.2, 1.4, 1.3, 3.0, 0.0, 0.7, 2.1]


def test_other_sets_drop_pickups_outside_the_month(months, tmp_path):
    """Six of January's twelve; none of them in February, so February cannot be used."""
    with pytest.raises(SchemaError, match="has no usable trip"):
        build({"train": [months("2023-01")], "val": [months("2023-02")]}, FULL, tmp_path / "dataset")
    assert not (tmp_path / "dataset" / "manifest.json").exists()


def test_dense_columns_are_float32_in_the_order_of_the_set(month_of, tiny_trips, tmp_path):
    """Row after row in memory, as the models read it; the ride on the last of January is one of March here."""
    val = month_of(later(tiny_trips, 31), "2023-02")
    build({"train": [month_of(tiny_trips)], "val": [val]}, FULL, tmp_path / "dataset")
    split = Dataset.open(tmp_path / "dataset").load("val")
    assert split.X.shape == (5, len(FULL.columns)) and split.X.dtype == np.float32 and split.X.flags.c_contiguous
    assert split.X[0, split.columns.index("minute_of_day")] == 480
    assert split.columns == tuple(column.name for column in FULL.columns)


def test_the_same_months_give_the_same_bytes(months, tmp_path, monkeypatch):
    """Wherever they lie, however they are read: here row by row from another folder."""
    splits = {"train": [months("2023-01")], "val": [months("2023-02")], "test": [months("2023-03")]}
    build(splits, COURSE, tmp_path / "a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = {
        split: [Month(m.taxi, m.name, shutil.copy(m.path, elsewhere / f"x{m.name}"), m.digest, "s3://b/") for m in of]
        for split, of in splits.items()
    }
    monkeypatch.setattr(month_files, "kept_trips", partial(kept_trips, batch_rows=1))
    build(moved, COURSE, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_row_groups_do_not_depend_on_how_months_were_read(months, tmp_path, monkeypatch):
    """Groups of three trips: 3, 3 and 1, from batches of one, two or twelve raw rows."""
    monkeypatch.setattr(month_files, "ROW_GROUP", 3)
    splits = {"train": [months("2023-01")], "val": [months("2023-02")]}
    found = []
    for rows in (1, 2, 12):
        monkeypatch.setattr(month_files, "kept_trips", partial(kept_trips, batch_rows=rows))
        build(splits, COURSE, tmp_path / str(rows))
        found.append(contents(tmp_path / str(rows)))
    assert found[0] == found[1] == found[2]
    file = pq.ParquetFile(tmp_path / "1" / "train" / "2023-01.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 3, 1]


@pytest.mark.parametrize("name", ["course", "full"])
def test_parts_are_the_whole_in_pieces(name, month_of, tiny_trips, tmp_path):
    """For splits larger than memory: the same rows, at most two at a time."""
    val = month_of(later(tiny_trips, 31), "2023-02")
    build({"train": [month_of(tiny_trips)], "val": [val]}, FEATURE_SETS[name], tmp_path / "dataset")
    dataset = Dataset.open(tmp_path / "dataset")
    whole, parts = dataset.load("train"), list(dataset.parts("train", rows=2))
    assert max(map(len, parts)) == 2 and np.concatenate([part.y for part in parts]).tolist() == whole.y.tolist()

    def dense(X):
        return X if isinstance(X, np.ndarray) else X.toarray()

    assert np.concatenate([dense(part.X) for part in parts]).tobytes() == dense(whole.X).tobytes()


def test_progress_counts_every_raw_row_once(months, tmp_path):
    """Never backwards, up to the twelve rows of each month."""
    told = []
    splits = {"train": [months("2023-01")], "val": [months("2023-02")]}
    build(splits, COURSE, tmp_path / "dataset", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (24, 24) and {total for _, total in told} == {24}


@pytest.mark.parametrize(
    ("train", "val", "test", "error"),
    [
        (["2023-01"], ["2023-01"], [], "2023-01 is both a train and a val month\nGive each month to one split, once."),
        (["2023-01"], ["2023-02"], ["2023-01"], "2023-01 is both a train and a test month"),
        (["2023-01", "2023-01"], ["2023-02"], [], "2023-01 is twice a train month"),
        (["2023-01"], [], [], "there are no val months\nGive val_months, such as 2023-01."),
        ([], ["2023-01"], [], "there are no train months"),
    ],
)
def test_months_that_make_no_dataset_are_refused(train, val, test, error, months, tmp_path):
    """A month that both trains and judges makes every score a lie; nothing is written."""
    splits = {"train": train, "val": val, "test": test}
    with pytest.raises(DatasetError) as raised:
        build({split: [months(name) for name in names] for split, names in splits.items()}, COURSE, tmp_path / "new")
    assert str(raised.value).startswith(error) and not (tmp_path / "new").exists()


def _grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def _record(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _files(folder) -> dict:
    return json.loads((folder / "manifest.json").read_text())["files"]


EMPTY = hashlib.sha256(b"").hexdigest()
DAMAGES = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "is not a dataset: manifest.json cannot be read"),
    "half a manifest": (lambda f: (f / "manifest.json").write_text('{"schema": 2'), "is not a dataset"),
    "another manifest": (lambda f: (f / "manifest.json").write_text("[]"), "is not a dataset"),
    "no splits in it": (lambda f: _record(f, splits=None), "is not a dataset"),
    "a strange set": (lambda f: _record(f, feature_set="mine"), "is not a dataset"),
    "a taxi that is none": (lambda f: _record(f, taxi=5), "is not a dataset"),
    "warnings that are none": (lambda f: _record(f, warnings=[{}]), "is not a dataset"),
    "an older dataset": (lambda f: _record(f, schema=1), "is a dataset of another version of this project (1, not 2)"),
    "a file gone": (lambda f: (f / "val" / "2023-02.parquet").unlink(), "val/2023-02.parquet is missing"),
    "a file grown": (lambda f: _grow(f / "train" / "2023-01.parquet"), "train/2023-01.parquet was altered"),
    "features altered": (lambda f: _grow(f / "features" / "features.json"), "features/features.json was altered"),
    "a file left out": (lambda f: _record(f, files={}), "is not a dataset"),
    "a file outside": (lambda f: _record(f, files=_files(f) | {"../x": {"sha256": EMPTY}}), "../x is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_dataset_that_is_not_whole_is_refused(damage, made):
    """Before any of it is used, naming the file."""
    change, error = DAMAGES[damage]
    (made.folder.parent / "x").write_text("")
    change(made.folder)
    with pytest.raises(DatasetError) as raised:
        Dataset.open(made.folder)
    assert error in str(raised.value)


def test_a_split_that_is_not_there_is_named(made):
    """Not a KeyError, nor an empty array."""
    with pytest.raises(DatasetError, match="has no test split\nGive test_months to preprocess"):
        made.load("test")


def test_a_leaking_set_makes_no_dataset(months, tmp_path, monkeypatch):
    """Refused by what its columns do, after the months were read, before there is a manifest."""

    def refuse(features, trips):
        raise FeatureError("leak")

    monkeypatch.setattr(builder, "check_declarations", refuse)
    with pytest.raises(FeatureError, match="leak"):
        build({"train": [months("2023-01")], "val": [months("2023-02")]}, COURSE, tmp_path / "dataset")
    assert not (tmp_path / "dataset" / "manifest.json").exists()


def test_a_column_that_knows_the_answer_is_warned_of(month_of, tmp_path):
    """Kept, for a person to judge: here the meter ran a tenth of a mile every minute."""
    rows = 400
    pickup = [datetime(2023, 1, 2) + timedelta(minutes=7 * row) for row in range(rows)]
    minutes = np.random.default_rng(1).integers(1, 61, rows)
    table = pa.table(
        {
            "PULocationID": pa.array(np.arange(rows) % 5 + 1),
            "DOLocationID": pa.array(np.arange(rows) % 3 + 1),
            "trip_distance": minutes / 10,
            "lpep_pickup_datetime": pa.array(pickup, pa.timestamp("us")),
            "lpep_dropoff_datetime": pa.array(
                [moment + timedelta(minutes=int(took)) for moment, took in zip(pickup, minutes, strict=True)],
                pa.timestamp("us"),
            ),
        }
    )
    splits = {"train": [month_of(table)], "val": [month_of(later(table, 31), "2023-02")]}
    manifest = build(splits, FULL, tmp_path / "dataset")
    assert manifest.warnings[0].startswith("trip_distance alone explains 100% of the durations")


def test_real_months_keep_the_published_rows(tlc, tmp_path):
    """65,946, 62,574 and 69,392 trips for the course; without warnings."""

    def month(name: str) -> Month:
        return Month("green", name, tlc / file_name("green", name), "", "")

    splits = {"train": [month("2023-01")], "val": [month("2023-02")], "test": [month("2023-03")]}
    manifest = build(splits, COURSE, tmp_path / "dataset")
    assert [manifest.rows(split) for split in ("train", "val", "test")] == [65_946, 62_574, 69_392]
    assert manifest.warnings == []
