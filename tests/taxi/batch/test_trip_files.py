"""Files of trips as people have them: American times, other delimiters, byte order marks; and what ends in an error."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from steps import predict as step
from taxi.batch import scoring
from taxi.batch.tables import TableError, open_table, same_file, table_writer

PICKUP = "lpep_pickup_datetime"
HEADER = f"PULocationID,DOLocationID,trip_distance,{PICKUP}"


class _Features:
    uses = ("PULocationID", "DOLocationID", "trip_distance")


class Predictor:
    """Answers the minutes since midnight of the pickup."""

    taxi, features, intervals = "green", _Features(), None

    def answer(self, trips) -> dict:
        moment = trips[PICKUP].to_numpy("datetime64[m]")
        return {"duration": (moment - moment.astype("datetime64[D]")).astype(float)}


class Session:
    progress = False


def rows(*times: str, zone: str = "74", miles: str = "1.2", delimiter: str = ",") -> str:
    lines = [HEADER, *(f"{zone},75,{miles},{time}" for time in times)]
    return "\n".join(line.replace(",", delimiter) for line in lines) + "\n"


def answers(path: Path) -> list[float]:
    with open_table(str(path), scoring.columns(Predictor())) as table:
        batches = list(scoring.answers(Predictor(), table, Counter()))
    return [minute for batch in batches for minute in batch["duration"].to_pylist()]


def moments(*times: str, tmp_path: Path) -> list[str]:
    """What is read of pickup times in a file of just these."""
    path = tmp_path / "trips.csv"
    path.write_text(rows(*times))
    with open_table(str(path), [PICKUP]) as table:
        dates, batch = scoring.Dates(table, PICKUP), next(table.batches())
        return [str(moment)[:19] for moment in scoring._moments(batch[PICKUP], dates)[0]]


def test_times_as_tlcs_portal_writes_them(tmp_path):
    """Month first, with AM and PM: noon and midnight are the traps."""
    found = moments(
        "01/02/2021 12:15:56 AM", "1/2/2021 12:00:00 PM", "01/02/2021 1:05 pm", "01/02/2021 11:59:59.5PM",
        "02/30/2021 01:00:00 AM", "02/03/2021 13:00:00 PM", tmp_path=tmp_path,
    )  # fmt: skip
    assert found == ["2021-01-02T00:15:56", "2021-01-02T12:00:00", "2021-01-02T13:05:00", "2021-01-02T23:59:59",
                     "NaT", "NaT"]  # fmt: skip


def test_a_number_above_12_settles_all_of_the_file(tmp_path):
    """Day first or month first; a file that says both, and one that says neither, are refused."""
    assert moments("02/03/2021 00:15", "31/01/2021 10:00", tmp_path=tmp_path)[0] == "2021-03-02T00:15:00"
    assert moments("02/03/2021 00:15", "01/31/2021 10:00", tmp_path=tmp_path)[0] == "2021-02-03T00:15:00"
    assert moments("02/03/2021", "2021-01-31 10:00:00", "02/13/2021", tmp_path=tmp_path)[:2] == [
        "2021-02-03T00:00:00", "2021-01-31T10:00:00"]  # fmt: skip
    with pytest.raises(TableError, match="read in two ways, '02/03/2021 00:15' among them\n Give times as 2023-04-01"):
        moments("02/03/2021 00:15", "2021-01-31 10:00:00", tmp_path=tmp_path)
    with pytest.raises(TableError, match="in two ways, some with the day first"):
        moments("31/01/2021 00:15", "01/31/2021 00:15", tmp_path=tmp_path)


def test_what_settles_it_may_stand_in_a_later_batch(tmp_path):
    """Ten thousand rows after it is needed, in another batch."""
    path, early = tmp_path / "trips.parquet", ["02/03/2021 00:15"] * 400_000
    table = pa.table({PICKUP: [*early, "31/01/2021 00:15"], "PULocationID": ["74"] * 400_001,
                      "DOLocationID": ["75"] * 400_001, "trip_distance": ["1.2"] * 400_001})  # fmt: skip
    pq.write_table(table, path)
    with open_table(str(path), scoring.columns(Predictor())) as opened_table:
        first = next(scoring.answers(Predictor(), opened_table, Counter()))
    assert first["duration"][0].as_py() == 15.0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", rows("2023-03-01 00:15:00", delimiter=";").encode()),
        ("tabs.tsv", rows("2023-03-01 00:15:00", delimiter="\t").encode()),
        ("mark.csv", b"\xef\xbb\xbf" + rows("2023-03-01 00:15:00").encode()),
        ("windows.csv", rows("2023-03-01 00:15:00").replace("\n", "\r\n").encode()),
        ("quoted.csv", (f'"note",{HEADER}\n"a, ""b""\nand on",74,75,"1.2","2023-03-01 00:15:00"\n').encode()),
        ("CAPITALS.CSV", rows("2023-03-01 00:15:00").encode()),
        ("packed.csv.gz", gzip.compress(rows("2023-03-01 00:15:00").encode(), mtime=0)),
        ("packed-all-the-same.csv", gzip.compress(rows("2023-03-01 00:15:00").encode(), mtime=0)),
        ("no-gzip.csv.gz", rows("2023-03-01 00:15:00").encode()),
        ("latin.csv", f"caf\xe9,{HEADER}\n".encode() + "caf\xe9,74,75,1.2,2023-03-01 00:15:00\n".encode("latin-1")),
    ],
)
def test_a_csv_file_in_its_usual_forms(tmp_path, name, content):
    """Delimiters, marks, line ends, quotes with line ends inside, compression; columns nobody asked for may be odd."""
    (tmp_path / name).write_bytes(content)
    assert answers(tmp_path / name) == [15.0]


def test_a_header_alone_has_no_rows(tmp_path):
    """An empty table is a table, with and without the end of its line."""
    for end in ("", "\n", "\r\n", "\n\n"):
        (tmp_path / "trips.csv").write_text(HEADER + end)
        assert answers(tmp_path / "trips.csv") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "trips.csv is empty"),
        (b"\n\n", "trips.csv is empty"),
        (rows("2023-03-01 00:15:00").encode("utf-16"), "is not text in UTF-8"),
        (rows("2023-03-01 00:15:00", miles='"1,2"').encode(), "trip_distance has '1,2', with a comma"),
        (rows("2023-03-01 00:15:00", delimiter=";").replace("1.2", "1,2").encode(), "trip_distance has '1,2'"),
        (b"a;b;c\n1;2;3\n", r"has no column PULocationID, .*\(found: a, b, c\)"),
        (gzip.compress(rows("2023-03-01 00:15:00").encode() * 99, mtime=0)[:-20], "cannot be read"),
    ],
)
def test_a_csv_file_that_cannot_be_one_is_named(tmp_path, content, words):
    """One line says what it is."""
    (tmp_path / "trips.csv").write_bytes(content)
    with pytest.raises(TableError, match=words):
        answers(tmp_path / "trips.csv")


def test_no_prediction_at_all_is_an_error_that_shows_the_first_value(tmp_path):
    """And leaves no file; one row that can be answered is an answer."""
    path, out = tmp_path / "trips.csv", tmp_path / "out.parquet"
    path.write_text(rows("gestern", "heute"))
    with pytest.raises(TableError) as caught:
        step.answered(Session(), Predictor(), path, str(out))
    assert str(caught.value).splitlines() == [
        f"{path}: none of its 2 rows can be predicted: pickup time cannot be read, first 'gestern'",
        " Give times as 2023-04-01 08:15:00, or as TLC's portal does: 04/01/2023 08:15:00 AM. Numbers: 1234.5.",
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["trips.csv"]
    path.write_text(rows("gestern", "2023-03-01 00:15:00"))
    found = step.answered(Session(), Predictor(), path, str(out))
    assert step.lines(found) == ["predicted 1 of 2 trips",
                                 "no prediction for 1: pickup time cannot be read, first 'gestern'"]  # fmt: skip
    assert pq.read_table(out)["duration"].to_pylist() == [None, 15.0]
    path.write_text(HEADER)
    assert step.answered(Session(), Predictor(), path, str(out)).rows == 0


def test_what_was_unknown_is_counted_one_by_one():
    """Of notes that say two things each is counted; the most frequent comes first."""
    found = step.Counted(rows=1200, notes=Counter({"a": 1, "a; b": 1000, "b": 2}))
    assert step.lines(found) == ["predicted 1,200 of 1,200 trips", "1,002 predicted although b",
                                 "1,001 predicted although a"]  # fmt: skip


def test_a_time_that_no_calendar_has_is_shown_as_nothing(tmp_path):
    """It is none that could be written down."""
    table = pa.table({PICKUP: pa.array([2**62], pa.int64()).cast(pa.timestamp("ms")), "PULocationID": [74],
                      "DOLocationID": [75], "trip_distance": [1.2]})  # fmt: skip
    pq.write_table(table, tmp_path / "trips.parquet")
    with pytest.raises(TableError, match="can be predicted: pickup time impossible\n"):
        step.answered(Session(), Predictor(), tmp_path / "trips.parquet", str(tmp_path / "out.parquet"))


@pytest.fixture
def trips(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "trips ä.csv"
    path.write_text(rows("2023-03-01 00:15:00"))
    return path


def spellings(path: Path) -> dict[str, str]:
    link, hard = path.with_name("link.csv"), path.with_name("hard.csv")
    link.symlink_to(path)
    os.link(path, hard)
    return {
        "itself": str(path), "a URI": f"file://{path}", "an escaped URI": path.as_uri(),
        "a link": str(link), "a hard link": str(hard), "a way around": f"{path.parent}/x/../{path.name}",
        "a link by URI": f"file://{link}",
    }  # fmt: skip


def test_trips_are_never_written_over(trips):
    """However `out` spells them, and before anything is written: no run, no file."""
    before = trips.read_bytes()
    for how, out in spellings(trips).items():
        for given, written_to in ((str(trips), out), (out, str(trips))):
            result = CliRunner().invoke(step.predict, ["--trips", given, "--out", written_to])
            assert (result.exit_code, "trips and out are one file" in result.output) == (2, True), how
    assert trips.read_bytes() == before
    assert {path.name for path in trips.parent.iterdir()} == {trips.name, "link.csv", "hard.csv"}
    assert not same_file(str(trips), str(trips.with_name("other.csv")))
    assert same_file(str(trips), trips.name)
    assert same_file("s3://bucket/a", "s3://bucket/a")


KILLED = """
import os, signal, sys
from taxi.batch import scoring
from taxi.batch.tables import table_writer
with table_writer(sys.argv[1], scoring.SCHEMA) as write:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_predict_left_is_gone_with_the_next(tmp_path):
    """Nothing beside the file stays for ever; a folder of one that still writes does."""
    out = tmp_path / "out [1]*.parquet"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=Path(__file__).parents[3], check=False)
        assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1  # the second one cleared up after the first
    with table_writer(str(out), scoring.SCHEMA), table_writer(str(out), scoring.SCHEMA):
        assert len(list(tmp_path.iterdir())) == 2  # both live, the dead one is gone
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert np.array_equal(pq.read_table(out).num_rows, 0)
