"""Months written side by side."""

import threading
import time

import pytest

from taxi.dataset.month_files import months_here
from taxi.months.trips import SchemaError


def paths_of(months, folder):
    return {month: folder / f"{month.name}.kept" for month in months}


def test_trouble_comes_where_its_month_is_asked_for(month_of, tiny_trips, tmp_path):
    """So that of two damaged months the same one is named, whichever was met first."""
    first, late, bad = month_of(tiny_trips), month_of(b"no parquet", "2023-02"), month_of(b"", "2023-03")
    paths = paths_of([first, late, bad], tmp_path)
    with pytest.raises(SchemaError, match="2023-02"), months_here(paths, False, lambda *seen: None) as written:
        assert written(first, paths[first]).kept == 7
        written(late, paths[late])


def test_one_at_a_time_is_seen(months_of_three_groups, tmp_path):
    """What is learned of trips is no business of two threads at once; a month is whole with its last batch."""
    inside, most, ends = [], [], []

    def seen(month, batch, kept, last):
        inside.append(month)
        time.sleep(0.01)
        most.append(len(inside))
        inside.remove(month)
        ends.extend([(month, kept)] if last else [])

    paths = paths_of(months_of_three_groups, tmp_path)
    with months_here(paths, False, seen) as written:
        assert [written(month, path).kept for month, path in paths.items()] == [7] * 4
    assert most == [1] * 12
    assert sorted(ends, key=str) == sorted(((month, 7) for month in paths), key=str)


def test_the_others_end_when_one_fails(months_of_three_groups, tmp_path):
    """Nobody waits for hours of months that no dataset will have."""
    looked, met = threading.Event(), []

    def seen(month, batch, kept, last):
        met.append(month)
        looked.set()
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt), months_here(paths_of(months_of_three_groups, tmp_path), False, seen):
        looked.wait()
        raise KeyboardInterrupt
    assert len(met) < 12


@pytest.fixture
def months_of_three_groups(month_of, tiny_trips, monkeypatch):
    """Four months of seven trips each, in groups of three, three and one."""
    monkeypatch.setattr("taxi.dataset.month_files.ROW_GROUP", 3)
    return [month_of(tiny_trips, f"2023-0{number}") for number in range(1, 5)]
