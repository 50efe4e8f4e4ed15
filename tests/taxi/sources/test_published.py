"""Which months a source has, and a cache that follows a month that was published anew."""

import os

import pytest

from taxi.months.month import file_name
from taxi.sources import published as module
from taxi.sources.download import DataSourceError
from taxi.sources.locate import locate
from taxi.sources.published import drop_outdated, earlier, published
from tests.support.mirror import mirror

RANGE = ("2022-11", "2023-04")


def months(folder, *names: str, content: bytes = b"PAR1 trips PAR1") -> None:
    for name in names:
        (folder / file_name("green", name)).write_bytes(content)


@pytest.fixture
def there(tmp_path):
    """A folder with two months in the range, one before it and one after it, and what is none."""
    folder = tmp_path / "months"
    folder.mkdir()
    months(folder, "2022-10", "2022-12", "2023-03", "2023-05")
    for name in ("green_tripdata_2023-02.parquet.part", "yellow_tripdata_2023-02.parquet", "green_tripdata_x.parquet"):
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_gives_the_months_it_has_newest_first(there):
    """Whether named by its path or by a URI."""
    for source in (str(there), there.as_uri()):
        assert list(published(source, "green", *RANGE)) == ["2023-03", "2022-12"]


def test_a_site_is_asked_month_by_month_and_no_further_than_needed(there, monkeypatch):
    """Whoever takes one month asks for none before it; nothing is fetched."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[str] = []
    with mirror(there, asked) as url:
        for source, base_url in ((url, None), ("tlc", url)):
            assert next(published(source, "green", *RANGE, base_url=base_url)) == "2023-03"
            assert {line.split()[0] for line in asked} == {"HEAD"}
            assert not any("2022-12" in line for line in asked)
        assert list(published(url, "green", *RANGE)) == ["2023-03", "2022-12"]


def test_a_bucket_is_asked_for_each_month(monkeypatch, there):
    """By its key, which needs no right to list."""
    from pyarrow.fs import LocalFileSystem

    monkeypatch.setattr(module, "_store", lambda uri: (LocalFileSystem(), str(there / uri.rpartition("/")[2])))
    assert list(published("s3://bucket/months", "green", *RANGE)) == ["2023-03", "2022-12"]


def test_the_sample_has_every_month():
    """They are made when needed."""
    assert list(published("sample:600", "green", "2023-01", "2023-03")) == ["2023-03", "2023-02", "2023-01"]


@pytest.mark.parametrize("source", ["/nowhere", "", "ftp://example.org/x", "file://host/x", "http://127.0.0.1:1"])
def test_a_source_that_cannot_be_asked_is_one_clear_error(source, monkeypatch):
    """What, and what to use."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir("/")
    with pytest.raises(DataSourceError) as caught:
        list(published(source, "green", *RANGE))
    assert "\n" in str(caught.value)


def test_months_are_counted_back_to_the_first_year():
    """Over the year's end; not before TLC publishes."""
    assert [earlier("2023-02", count) for count in (0, 1, 2, 14, 999)] == [
        "2023-02", "2023-01", "2022-12", "2021-12", "2009-01",
    ]  # fmt: skip


@pytest.mark.parametrize("known", ["never compared", "compared before"])
def test_a_month_that_tlc_publishes_anew_leaves_the_cache(tmp_path, there, monkeypatch, known):
    """Without marks of the server beside it by its size; with them by its date, too. Until then it is not asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cache = tmp_path / "cache"
    with mirror(there) as url:
        place = {"base_url": url, "cache": cache}
        [old] = locate("tlc", "green", ["2023-03"], **place)
        drop_outdated("green", ["2023-02"], **place)  # which is not in the cache
        if known == "compared before":
            drop_outdated("green", ["2023-03"], **place)
            months(there, "2023-03", content=b"PAR1 other PAR1")
            os.utime(there / file_name("green", "2023-03"), (1_900_000_000, 1_900_000_000))
        else:
            months(there, "2023-03", content=b"PAR1 more trips PAR1")
        assert locate("tlc", "green", ["2023-03"], **place)[0].digest == old.digest
        drop_outdated("green", ["2023-03"], **place)
        [new] = locate("tlc", "green", ["2023-03"], **place)
        assert new.digest != old.digest
        for _ in range(2):
            drop_outdated("green", ["2023-03"], **place)
            assert new.path.is_file()
