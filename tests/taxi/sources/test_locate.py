"""Where months come from: folders, TLC's site (a server on loopback stands for it), buckets and the sample."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from taxi.months.month import file_name
from taxi.sources import download
from taxi.sources.locate import DataSourceError, known_digests, locate, public, sample_rows

JANUARY = file_name("green", "2023-01")
PARQUET = b"PAR1" + b"trips" * 100_000 + b"PAR1"  # to fetch, not to read
CHANGED = b"PAR1" + b"other" * 100_000 + b"PAR1"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class Site:
    """A web server that can be told to misbehave, and counts what it was asked."""

    def __init__(self) -> None:
        self.files = {JANUARY: PARQUET}
        self.failures = 0  # answers of 503 yet to give
        self.cut = 0  # bytes that the body lacks
        self.asked = Counter()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body: bool):
                site.asked[self.command] += 1
                content = site.files.get(self.path.rpartition("/")[2])
                if content is None or site.failures:
                    site.failures = max(0, site.failures - 1)
                    return self.send_error(404 if content is None else 503)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", digest(content)[:8])
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) - site.cut])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/trip-data"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between tries
    site = Site()
    yield site
    site.close()


# Folders


def test_a_folder_gives_its_months_in_the_order_asked(tmp_path):
    """Digest, path and origin are the file's own."""
    for name in ("2023-01", "2023-02"):
        (tmp_path / file_name("green", name)).write_bytes(name.encode())
    february, january = locate(str(tmp_path), "green", ["2023-02", "2023-01"])
    assert (february.name, january.name) == ("2023-02", "2023-01")
    assert january.path == tmp_path / JANUARY
    assert january.digest == digest(b"2023-01") == known_digests(str(tmp_path), "green", ["2023-01"])["2023-01"]


def test_a_file_uri_with_escapes_is_a_folder(tmp_path):
    """%20 is a blank, and an empty host or localhost is this machine."""
    folder = tmp_path / "my months"
    folder.mkdir()
    (folder / JANUARY).write_bytes(b"x")
    for prefix in (folder.as_uri(), folder.as_uri() + "/", f"file://localhost{folder.as_uri()[7:]}"):
        assert locate(prefix, "green", ["2023-01"])[0].path == folder / JANUARY


def test_a_link_to_a_month_is_a_month(tmp_path):
    """Months are often kept elsewhere and linked."""
    (tmp_path / "kept").write_bytes(b"x")
    (tmp_path / JANUARY).symlink_to(tmp_path / "kept")
    assert locate(str(tmp_path), "green", ["2023-01"])[0].digest == digest(b"x")


def test_a_missing_month_names_the_file_the_folder_and_what_is_there(tmp_path):
    """The message is enough to see the typing mistake."""
    (tmp_path / JANUARY).write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    with pytest.raises(DataSourceError) as error:
        locate(str(tmp_path), "green", ["2023-01", "2031-05"])
    assert str(error.value) == (
        f"{tmp_path} does not hold green_tripdata_2031-05.parquet (it holds green_tripdata_2023-01.parquet).\n"
        "Add the file, or choose other months or another taxi."
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "holds only a folder named"),
        (lambda path: path.symlink_to(path.with_name("gone")), "holds only a broken link"),
        (lambda path: path.symlink_to(path), "holds only a broken link"),
        (lambda path: os.mkfifo(path), "holds no regular file"),
    ],
)
def test_what_is_no_file_is_not_read(tmp_path, make, said):
    """A folder, a broken link, a loop or a pipe named like the month neither hangs nor crashes."""
    make(tmp_path / JANUARY)
    with pytest.raises(DataSourceError, match=f"{said} {JANUARY}"):
        locate(str(tmp_path), "green", ["2023-01"])


@pytest.mark.parametrize(
    "source",
    ["", "sampel", "Sample", "TLC", "/no/such/folder", "ftp://host/x", "s3:/b", "s3://", "http://", "http://[x",
     "https://h:port/x", "file://elsewhere/x", "file://", "javascript://x", "hdfs://x/y", "http://h/x?a=b",
     "http://h/x#y", "http://h/\nx", "$(reboot)", "; ls", "--help", "a\0b", "x" * 10_000, "http:", "://", "naïve/ордер",
     "\ud800"],
)  # fmt: skip
def test_what_is_no_source_is_one_clear_error(source, tmp_path, monkeypatch):
    """Two lines, the forms that are taken, and nothing written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataSourceError, match="Use sample, sample:ROWS, tlc, a folder, or a prefix file://") as error:
        locate(source, "green", ["2023-01"], cache=tmp_path / "cache")
    assert str(error.value).count("\n") == 1
    assert len(str(error.value)) < 600
    assert not list(tmp_path.iterdir())


# The sample


def test_rows_of_the_sample_are_read_from_the_source():
    """20,000 unless said; other sources have none."""
    assert (sample_rows("sample"), sample_rows("sample:3000000"), sample_rows("tlc")) == (20_000, 3_000_000, None)


@pytest.mark.parametrize(
    "source", ["sample:", "sample:0", "sample:-1", "sample:1e6", "sample:100000001", "sample:٣", "sample:1\n"]
)
def test_rows_that_are_no_number_of_rows_are_refused(source):
    """Zero, negative, too many, and what only looks like a number."""
    with pytest.raises(DataSourceError, match="rows a month are 1 to 100000000"):
        sample_rows(source)


def test_the_sample_is_made_where_asked(tmp_path):
    """Two makings are the same bytes, and its name tells rows apart."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = (locate("sample:300", "yellow", ["2023-01"], scratch=tmp_path / side)[0] for side in "ab")
    assert first.path == tmp_path / "a" / "yellow_tripdata_2023-01.parquet"
    assert first.digest == second.digest == digest(first.path.read_bytes())
    assert first.origin == "sample:300"


def test_digests_of_the_sample_tell_rows_taxis_and_months_apart():
    """Any other month is another digest, and the default is sample:20000."""
    asked = [("sample", "green", "2023-01"), ("sample:300", "green", "2023-01"), ("sample", "yellow", "2023-01"),
             ("sample", "green", "2023-02")]  # fmt: skip
    assert len({known_digests(source, taxi, [name])[name] for source, taxi, name in asked}) == 4
    assert known_digests("sample", "green", ["2023-01"]) == known_digests("sample:20000", "green", ["2023-01"])


def test_digests_of_what_is_here_import_nothing_heavy(tmp_path):
    """A finished chain asks for digests on every run and must stay quick."""
    (tmp_path / JANUARY).write_bytes(b"x")
    code = (
        "import sys; from taxi.sources.locate import known_digests\n"
        f"known_digests('sample', 'green', ['2023-01']); known_digests({str(tmp_path)!r}, 'green', ['2023-01'])\n"
        "sys.exit(sorted({'numpy', 'pandas', 'pyarrow', 'pooch', 'requests', 'tqdm'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_sample_that_cannot_be_written_says_where(tmp_path):
    """A scratch that is a file is a clear error."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataSourceError, match=r"the sample cannot be written to .*/file \(Not a directory\)"):
        locate("sample:10", "green", ["2023-01"], scratch=tmp_path / "file")


# The web


def test_tlc_is_fetched_once_and_then_found_without_a_network(site, tmp_path):
    """A published month does not change: the second time nobody is asked."""
    first = locate("tlc", "green", ["2023-01"], base_url=site.url + "/", cache=tmp_path)[0]
    assert (first.path.read_bytes(), first.origin) == (PARQUET, "tlc")
    site.server.shutdown()
    assert locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)[0] == first
    assert site.asked == {"GET": 1}


def test_the_cache_records_what_came(site, tmp_path):
    """Beside the file: its SHA-256 and where it came from; nothing else is left."""
    path = locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)[0].path
    record = json.loads((path.parent / f"{JANUARY}.json").read_text())
    assert record == {"uri": f"{site.url}/{JANUARY}", "sha256": digest(PARQUET)}
    assert sorted(files_under(tmp_path)) == [path, path.parent / f"{JANUARY}.json"]


@pytest.mark.parametrize("damage", ["other bytes", "cut", "no record", "no file", "record is no JSON"])
def test_a_damaged_cache_is_fetched_again(site, tmp_path, damage):
    """What is not exactly what was recorded is not used."""
    path = locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)[0].path
    record = path.with_name(f"{JANUARY}.json")
    match damage:
        case "other bytes":
            path.write_bytes(CHANGED)
        case "cut":
            path.write_bytes(PARQUET[:-1])
        case "no record":
            record.unlink()
        case "no file":
            path.unlink()
        case _:
            record.write_text("[1]")
    assert locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)[0].digest == digest(PARQUET)
    assert site.asked["GET"] == 2


def test_a_server_that_stumbles_is_asked_again(site, tmp_path):
    """Three failures are outlived, as they pass."""
    site.failures = 3
    assert locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)[0].digest == digest(PARQUET)
    assert site.asked["GET"] == 4


def test_a_month_the_server_does_not_have_is_not_asked_for_again(site, tmp_path):
    """404 is an answer: one question, one clear error, an empty cache."""
    with pytest.raises(DataSourceError) as error:
        locate("tlc", "green", ["2031-05"], base_url=site.url, cache=tmp_path)
    assert str(error.value) == (
        f"{site.url}/green_tripdata_2031-05.parquet cannot be fetched (the server answered 404, as for a month it does "
        "not have).\nCheck the month, the address and the network, or give a folder that holds the months."
    )
    assert site.asked == {"GET": 1}
    assert not files_under(tmp_path)


def test_a_body_cut_short_is_never_taken_for_whole(site, tmp_path):
    """Every try ends early: an error, and an empty cache."""
    site.cut = 1000
    with pytest.raises(DataSourceError, match=r"cannot be fetched \("):
        locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path)
    assert site.asked["GET"] == 4
    assert not files_under(tmp_path)


def test_a_page_in_place_of_a_month_is_not_kept(site, tmp_path):
    """A sign-in page answers 200 too."""
    site.files[JANUARY] = b"<html>please sign in</html>"
    with pytest.raises(DataSourceError, match="is not a Parquet file"):
        locate(site.url, "green", ["2023-01"], cache=tmp_path)
    assert not files_under(tmp_path)


def test_a_prefix_on_the_web_is_asked_whether_it_changed(site, tmp_path):
    """Unchanged it is not fetched twice; changed it is another month, and the old one stays for who reads it."""
    first = locate(site.url, "green", ["2023-01"], cache=tmp_path)[0]
    assert locate(site.url, "green", ["2023-01"], cache=tmp_path)[0] == first
    assert site.asked == {"HEAD": 2, "GET": 1}
    site.files[JANUARY] = CHANGED
    assert known_digests(site.url, "green", ["2023-01"], cache=tmp_path) == {"2023-01": digest(CHANGED)}
    assert first.path.read_bytes() == PARQUET


def test_a_password_is_in_no_error_record_or_origin(site, tmp_path):
    """What is logged of a source with credentials is the source without them."""
    prefix = site.url.replace("//", "//me:hunter2@")
    month = locate(prefix, "green", ["2023-01"], cache=tmp_path)[0]
    assert month.origin == site.url == public(prefix)
    with pytest.raises(DataSourceError) as missing:
        locate(prefix, "green", ["2031-05"], cache=tmp_path)
    site.close()
    with pytest.raises(DataSourceError) as gone:
        locate(prefix, "green", ["2023-01"], cache=tmp_path)
    written = " ".join(path.read_text("latin-1") for path in files_under(tmp_path) if path.suffix == ".json")
    assert "hunter2" not in f"{missing.value} {gone.value} {written}"


def test_a_cache_that_cannot_be_written_says_so(site, tmp_path):
    """The remedy for a bad cache folder is not to check the network."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        DataSourceError, match=r"the cache .* cannot be written \(.*\)\.\nMake room, or set XDG_CACHE_HOME"
    ):
        locate("tlc", "green", ["2023-01"], base_url=site.url, cache=tmp_path / "file")


def test_progress_is_a_line_every_tenth_where_nobody_watches(capsys, monkeypatch):
    """A log gets at most ten lines, and none in the first seconds or when quiet."""
    from runtime import progress

    clock = iter([0.0, 1.0, *range(10, 30)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.bar("fetch x", 200, "B")
    for _ in range(4):
        lines.update(25)
    assert capsys.readouterr().err.splitlines() == [
        "fetch x: 20 % of 200 B, 30 s left",
        "fetch x: 30 % of 200 B, 18 s left",
        "fetch x: 50 % of 200 B, 12 s left",
    ]
    quiet = progress.bar("fetch x", 1, "B", shown=False)
    quiet.update(1)
    assert capsys.readouterr().err == ""


# Buckets


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that stands for an S3 bucket, and the URIs that were asked for."""
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    folder = tmp_path / "bucket"
    folder.mkdir()
    (folder / JANUARY).write_bytes(PARQUET)
    asked = []

    def store(uri):
        asked.append(uri)
        return SubTreeFileSystem(str(folder), LocalFileSystem()), uri.partition("?")[0].rpartition("/")[2]

    monkeypatch.setattr(download, "_store", store)
    return folder, asked


def test_an_object_is_fetched_once_until_it_changes(bucket, tmp_path):
    """Size and time in the bucket tell whether it is still the same."""
    folder, asked = bucket
    cache = tmp_path / "cache"
    first = locate("s3://months/tlc/", "green", ["2023-01"], cache=cache)[0]
    assert (first.digest, first.origin) == (digest(PARQUET), "s3://months/tlc/")
    assert set(asked) == {f"s3://months/tlc/{JANUARY}"}
    assert locate("s3://months/tlc", "green", ["2023-01"], cache=cache)[0].path == first.path
    (folder / JANUARY).write_bytes(CHANGED)
    assert locate("gs://months/tlc", "green", ["2023-01"], cache=cache)[0].digest == digest(CHANGED)


def test_options_of_a_bucket_stay_behind_the_file(bucket, tmp_path):
    """s3://bucket/prefix?endpoint_override=... is pyarrow's way to name a server; the rest of us never see it."""
    _, asked = bucket
    source = "s3://key:secret@months/tlc?region=eu-west-1&scheme=http"  # pragma: allowlist secret
    month = locate(source, "green", ["2023-01"], cache=tmp_path / "cache")[0]
    assert asked[0] == f"s3://key:secret@months/tlc/{JANUARY}?region=eu-west-1&scheme=http"  # pragma: allowlist secret
    assert month.origin == "s3://months/tlc"


def test_an_object_that_is_not_there_says_so(bucket, tmp_path):
    """A missing month in a bucket reads like one on the web."""
    with pytest.raises(
        DataSourceError, match=r"s3://m/green_tripdata_2031-05.parquet cannot be fetched \(there is no such"
    ):
        locate("s3://m", "green", ["2031-05"], cache=tmp_path / "cache")


def test_an_s3_uri_becomes_a_store_and_a_key():
    """pyarrow understands the URIs we build: bucket and key together, the server from the options."""
    store, key = download._store("s3://months/tlc/x.parquet?region=eu-west-1&endpoint_override=127.0.0.1:9&scheme=http")
    assert (store.type_name, store.region, key) == ("s3", "eu-west-1", "months/tlc/x.parquet")
