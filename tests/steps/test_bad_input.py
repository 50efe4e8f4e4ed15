"""Damaged months, damaged datasets and absurd parameters, by the hundred: a right result or one clear refusal."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxi.city.sample import write_month
from taxi.dataset.builder import DatasetError, build
from taxi.dataset.dataset import Dataset
from taxi.features.fitting import FEATURE_SETS, FeatureError
from taxi.months.month import Month, file_name
from taxi.months.trips import SchemaError
from tests.support.hypothesis_settings import examples

REFUSALS = (DatasetError, FeatureError, SchemaError)
ROWS = 400
NAMES = {"train": "2023-01", "val": "2023-02"}
# Fast by default; the same tests with many more examples are part of `make soak`.
EXAMPLES = [pytest.param(40, id="some"), pytest.param(400, id="many", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> dict[str, bytes]:
    """A small whole month for each split."""
    folder = tmp_path_factory.mktemp("months")
    for name in NAMES.values():
        write_month(folder / name, "green", name, ROWS, lambda rows: None)
    return {split: (folder / name).read_bytes() for split, name in NAMES.items()}


def made(folder: Path, contents: dict[str, bytes], features: str) -> Path:
    """A dataset of the given months, in ``folder/dataset``; raises what `build` raises."""
    splits = {}
    for split, content in contents.items():
        path = folder / file_name("green", NAMES[split])
        path.write_bytes(content)
        splits[split] = [Month("green", NAMES[split], path, hashlib.sha256(content).hexdigest(), str(folder))]
    target = folder / "dataset"
    target.mkdir()
    build(splits, FEATURE_SETS[features], target)
    return target


def right_or_refused(contents: dict[str, bytes], features: str) -> bool:
    """Whether a dataset came of it, which then is sound; a refusal is two clear lines. Nothing else is written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            dataset = Dataset.open(made(folder, contents, features))
        except REFUSALS as error:
            assert 1 <= len(str(error).splitlines()) <= 2 and len(str(error)) < 900, error
            assert str(error).isprintable() or "\n" in str(error)
            return False
        finally:
            expected = {"dataset", *(file_name("green", NAMES[split]) for split in contents)}
            assert {path.name for path in folder.iterdir()} == expected
        for split in contents:
            whole = dataset.load(split)
            assert len(whole) == dataset.manifest.rows(split) > 0
            assert np.all((whole.y >= 1) & (whole.y <= 60))
        return True


BYTES = st.one_of(
    st.tuples(st.just("truncate"), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("insert"), st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=40))),
    st.tuples(st.just("drop"), st.tuples(st.floats(0, 1), st.integers(1, 4000))),
    st.tuples(st.just("append"), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("replace"), st.binary(max_size=60)),
)


def damaged(content: bytes, damage: tuple) -> bytes:
    """`content` after one damage of BYTES; places are shares of its length."""
    kind, how = damage
    if kind == "truncate":
        return content[: int(how * len(content))]
    if kind == "append":
        return content + how
    if kind == "replace":
        return how
    if kind == "flip":
        changed = bytearray(content)
        for place, mask in how:
            changed[int(place * (len(changed) - 1))] ^= mask
        return bytes(changed)
    place = int(how[0] * len(content))
    inserted, dropped = (how[1], 0) if kind == "insert" else (b"", how[1])
    return content[:place] + inserted + content[place + dropped :]


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_month_with_damaged_bytes_is_read_or_refused(count, months):
    """Truncated, flipped, inserted, dropped or foreign bytes."""

    @examples(count)
    @given(st.sampled_from(sorted(NAMES)), BYTES, st.sampled_from(["full", "course"]))
    def check(split, damage, features):
        right_or_refused({**months, split: damaged(months[split], damage)}, features)

    check()


COLUMNS = ("PULocationID", "DOLocationID", "trip_distance", "lpep_pickup_datetime", "lpep_dropoff_datetime")
TYPES = (pa.string(), pa.large_string(), pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.float16(), pa.date32(),
         pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.decimal128(20, 2), pa.null(),
         pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.int64()), pa.binary(), pa.duration("s"))  # fmt: skip
VALUES = (None, float("nan"), float("inf"), float("-inf"), 0, -1, 266, 2**31, 2**62, -(2**63), 1e308, 5e-324,
          datetime(1900, 1, 1), datetime(2099, 12, 31), datetime(1, 1, 1), datetime(9999, 12, 31))  # fmt: skip
TABLE = st.one_of(
    st.tuples(st.just("without"), st.sampled_from(COLUMNS)),
    st.tuples(st.just("renamed"), st.sampled_from(COLUMNS), st.text(max_size=30)),
    st.tuples(st.just("swapped"), st.sampled_from(COLUMNS), st.sampled_from(COLUMNS)),
    st.tuples(st.just("twice"), st.sampled_from(COLUMNS)),
    st.tuples(st.just("of type"), st.sampled_from(COLUMNS), st.sampled_from(TYPES)),
    st.tuples(st.just("all"), st.sampled_from(COLUMNS), st.sampled_from(VALUES)),
    st.tuples(st.just("some"), st.sampled_from(COLUMNS), st.sampled_from(VALUES)),
    st.tuples(st.just("rows"), st.integers(0, 3)),
    st.tuples(st.just("repeated"), st.integers(1, 2000)),
    st.tuples(st.just("years"), st.sampled_from([-200, -123, -1, 76, 200, 5000])),
)


def changed(table: pa.Table, change: tuple) -> pa.Table:
    """`table` after one change of TABLE."""
    kind, *rest = change
    names = table.column_names
    if kind == "without":
        return table.drop_columns(rest[0])
    if kind == "renamed":
        return table.rename_columns([rest[1] if name == rest[0] else name for name in names])
    if kind == "swapped":
        return table.rename_columns([{rest[0]: rest[1], rest[1]: rest[0]}.get(name, name) for name in names])
    if kind == "twice":
        return table.append_column(rest[0], table[rest[0]])
    if kind == "rows":
        return table.slice(0, rest[0])
    if kind == "repeated":
        return table.take(pa.array(np.zeros(rest[0], dtype="int64")))
    if kind == "years":
        for name in COLUMNS[3:]:
            with np.errstate(invalid="ignore"):  # of what another change put there
                moved = table[name].to_numpy().astype("datetime64[us]") + np.timedelta64(rest[0] * 365, "D")
            table = table.set_column(names.index(name), name, pa.array(moved))
        return table
    place = names.index(rest[0])
    if kind == "of type":
        column = table[rest[0]]
        try:
            column = column.cast(rest[1], safe=False)
        except pa.ArrowException:
            column = pa.nulls(len(table), rest[1])
        return table.set_column(place, rest[0], column)
    count = len(table) if kind == "all" else 3
    value = rest[1]
    if isinstance(value, datetime):
        value = pa.scalar(value, pa.timestamp("us"))
    elif value is not None:
        value = pa.scalar(value, pa.float64() if isinstance(value, float) else pa.int64())
    if value is None:
        filled = pa.nulls(len(table), table[rest[0]].type)
        return table.set_column(place, rest[0], filled)
    old = table[rest[0]].slice(count)
    try:
        column = pa.chunked_array([pa.repeat(value, count), *old.cast(value.type, safe=False).chunks], value.type)
    except pa.ArrowException:
        column = pa.repeat(value, len(table))
    return table.set_column(place, rest[0], column)


def as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_month_with_changed_columns_is_read_or_refused(count, months):
    """Missing, renamed, swapped, doubled columns; other types; nulls, infinities, absurd years; no or equal rows."""

    @examples(count)
    @given(st.sampled_from(sorted(NAMES)), st.lists(TABLE, min_size=1, max_size=2), st.sampled_from([*FEATURE_SETS]))
    def check(split, changes, features):
        table = pq.read_table(pa.BufferReader(months[split]))
        for change in changes:
            with contextlib.suppress(KeyError, ValueError, IndexError):  # where the change before it took all away
                table = changed(table, change)
        try:
            content = as_parquet(table)
        except (pa.ArrowException, ValueError):
            return  # no such file can be
        right_or_refused({**months, split: content}, features)

    check()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, months) -> Path:
    return made(tmp_path_factory.mktemp("whole"), months, "full")


def arrays(folder: Path) -> list[bytes]:
    """What a search reads of a dataset."""
    dataset = Dataset.open(folder)
    return [part for split in NAMES for part in (dataset.load(split).X.tobytes(), dataset.load(split).y.tobytes())]


ARTIFACT = st.one_of(
    BYTES, st.tuples(st.sampled_from(["gone", "folder", "link", "loop", "fifo", "mode"]), st.none())
)  # fmt: skip


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_damaged_dataset_is_refused_or_gives_the_same_arrays(count, whole):
    """Any file of it damaged, absent, a folder, a link or a pipe: never other numbers, never a wait."""
    wanted = arrays(whole)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())

    @examples(count)
    @given(st.sampled_from(files), ARTIFACT)
    def check(name, damage):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(whole, Path(folder, "dataset")))
            path = copy / name
            content = path.read_bytes()
            if damage[0] == "mode":
                path.chmod(0)
            elif damage[0] in ("gone", "folder", "link", "loop", "fifo"):
                path.unlink()
                {"gone": lambda: None, "folder": path.mkdir, "link": lambda: path.symlink_to(whole / name),
                 "loop": lambda: path.symlink_to(path.name), "fifo": lambda: os.mkfifo(path)}[damage[0]]()  # fmt: skip
            else:
                path.write_bytes(damaged(content, damage))
            try:
                assert arrays(copy) == wanted
            except REFUSALS as error:
                assert 1 <= len(str(error).splitlines()) <= 2, error

    check()


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=12),
    st.sampled_from(["../../etc/passwd", "/etc/passwd", "train/../../x", "\0", 10**15]),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every key and index in a JSON value."""
    if not isinstance(value, dict | list):
        return []
    below = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, item in below for found in [(*path, key), *places(item, (*path, key))]]


@pytest.mark.parametrize("count", EXAMPLES)
def test_a_forged_manifest_is_refused_or_gives_the_same_arrays(count, whole):
    """Any value of it replaced by any other: no traceback, no memory for rows that are not there, no file outside."""
    record = json.loads((whole / "manifest.json").read_text())
    wanted, every = arrays(whole), places(record)

    @examples(count)
    @given(st.sampled_from(every), JSON_VALUES, st.booleans())
    def check(place, value, remove):
        forged = json.loads(json.dumps(record))
        inner = forged
        for key in place[:-1]:
            inner = inner[key]
        if remove:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(whole, Path(folder, "dataset")))
            (copy / "manifest.json").write_text(json.dumps(forged))
            try:
                assert arrays(copy) == wanted
            except REFUSALS as error:
                assert len(str(error)) < 900, error

    check()


@pytest.mark.slow
def test_ten_million_copies_of_one_trip_make_a_dataset(months, tmp_path):
    """As many rows as two of TLC's largest months, all equal: read as a stream, counted, none dropped."""
    one = pq.read_table(pa.BufferReader(months["train"])).select(COLUMNS)
    minutes = (one[4].to_numpy() - one[3].to_numpy()) / np.timedelta64(1, "m")
    place = int(np.flatnonzero((minutes > 2) & (minutes < 50) & one[2].is_valid().to_numpy())[0])
    block = one.take(pa.array(np.full(1_000_000, place)))
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, block.schema) as writer:
        for _ in range(10):
            writer.write_table(block)
    dataset = Dataset.open(made(tmp_path, {**months, "train": sink.getvalue()}, "full"))
    assert dataset.manifest.rows("train") == 10_000_000
    first = next(dataset.parts("train"))
    assert np.all(first.y == first.y[0]) and not np.any(np.isinf(first.X))  # gaps: one pair of zones makes no map
