"""Mistakes through the real `mlflow run`: one clear error, a FAILED run, an untouched registry, no stray file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi.city.sample import write_month
from taxi.months.month import file_name
from tests.support.project import ROOT, Workplace, workplace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store) -> Workplace:
    return workplace(tmp_path_factory.mktemp("place"), migrated_store)


def months(folder: Path) -> Path:
    """Three small whole months, of which a test spoils the first."""
    folder.mkdir()
    for name in ("2023-01", "2023-02", "2023-03"):
        write_month(folder / file_name("green", name), "green", name, 300, lambda rows: None)
    return folder / file_name("green", "2023-01")


def table(path: Path, **changes) -> None:
    read = pq.read_table(path)
    for name, values in changes.items():
        read = read.set_column(read.column_names.index(name), name, values)
    pq.write_table(read, path)


SPOILT = {
    "an empty file": (lambda path: path.write_bytes(b""), "cannot be read as Parquet"),
    "half a file": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cannot be read as Parquet"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "holds only a folder named"),
    "a link to itself": (lambda path: (path.unlink(), path.symlink_to(path.name)), "holds only a broken link"),
    "text for zones": (lambda path: table(path, PULocationID=pa.array(["x"] * 300)), "column 'PULocationID' is string"),
    "all null": (lambda path: table(path, PULocationID=pa.nulls(300, pa.int64())), "has no usable trip"),
}
WORDS = {
    "ten thousand letters": ("preprocess", {"source": "x" * 10_000}, "is no folder to read months from"),
    "a flag": ("preprocess", {"source": "--reuse"}, ""),
    "a foreign scheme": ("preprocess", {"source": "ftp://example.org/x"}, "is none that is known"),
    "a model's name with a slash": ("register", {"model_name": "a/b"}, "cannot name a model"),
    "quotes": ("train", {"params": "{'max_depth': 6}"}, "is not JSON"),
    "a shell's word": ("train", {"params": "$(touch pwned); touch pwned"}, ""),
}


def ends_in_one_error(place: Workplace, entry_point: str, params: dict, expected: str) -> None:
    before = {path.name for folder in (ROOT, place.folder) for path in folder.iterdir()}
    result = place.run(entry_point, **params)
    assert result.exit_code == 1
    assert "Error: " in result.stderr and expected in result.stderr, result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    newest = place.client.search_runs(["0"], max_results=1, order_by=["attributes.start_time DESC"])[0]
    assert newest.info.status == "FAILED"
    assert place.client.search_registered_models() == []
    after = {path.name for folder in (ROOT, place.folder) for path in folder.iterdir()}
    assert after - before <= {"mlruns", "__pycache__"}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_spoilt_month_ends_in_one_clear_error(spoilt, place, tmp_path):
    """Whatever lies under a month's name."""
    spoil, expected = SPOILT[spoilt]
    spoil(months(tmp_path / "months"))
    ends_in_one_error(place, "preprocess", {"source": tmp_path / "months"}, expected)


@pytest.mark.parametrize("word", WORDS)
def test_an_absurd_word_ends_in_one_clear_error(word, place):
    """Through two shells and MLflow's own quoting."""
    ends_in_one_error(place, *WORDS[word])
