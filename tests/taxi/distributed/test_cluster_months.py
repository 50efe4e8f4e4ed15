"""Months that a cluster's workers write: the dataset is that of this machine, byte for byte."""

from pathlib import Path

import pytest

from runtime.files import sha256_file
from search.engines import EngineError
from taxi.dataset.builder import build
from taxi.distributed.cluster_months import months_on
from taxi.features.fitting import FEATURE_SETS
from taxi.months.month import Month
from taxi.months.trips import SchemaError
from taxi.sources.locate import DataSourceError, locate
from tests.support.cluster import code_of, two_workers

SPLITS = {"train": ["2023-01", "2023-02"], "val": ["2023-03"]}
FAR = {split: [Month("green", name, None, "", "") for name in names] for split, names in SPLITS.items()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with two_workers(tmp_path_factory.mktemp("cluster")) as address:
        yield address


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def there(cluster, source, folder, splits=FAR):
    months = [month for split in splits.values() for month in split]
    feature_set = FEATURE_SETS["full"]
    with months_on(cluster, code_of("taxi"), source, months, feature_set.in_month, {}) as written:
        build(splits, feature_set, folder, written=written)
    return files(folder)


def test_the_dataset_is_that_of_this_machine(cluster, tmp_path):
    """More rows than fit a row group; months made there of the sample's recipe, or read from a folder that all see."""
    source = "sample:140000"
    located = {split: locate(source, "green", names, scratch=tmp_path) for split, names in SPLITS.items()}
    build(located, FEATURE_SETS["full"], tmp_path / "here")
    here = files(tmp_path / "here")
    assert there(cluster, source, tmp_path / "recipe") == here
    assert there(cluster, str(tmp_path), tmp_path / "folder") == here


def test_trouble_with_a_month_is_told_as_here(cluster, tmp_path):
    """A folder that workers do not see, a file that is no month: the same errors, no traceback of the cluster's."""
    with pytest.raises(DataSourceError, match="nowhere"):
        there(cluster, str(tmp_path / "nowhere"), tmp_path / "a")
    for name in ("2023-01", "2023-02", "2023-03"):
        (tmp_path / f"green_tripdata_{name}.parquet").write_bytes(b"no parquet")
    with pytest.raises(SchemaError):
        there(cluster, str(tmp_path), tmp_path / "b")


def test_a_cluster_that_is_not_there_is_named(monkeypatch, tmp_path):
    """Before anything is written."""
    monkeypatch.setattr("search.engines.cluster.CONNECT_SECONDS", 0.2)
    with pytest.raises(EngineError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        there("dask://127.0.0.1:9", "sample", tmp_path / "c")
