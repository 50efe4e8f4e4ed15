"""Where raw months come from: the embedded sample, TLC's own site, or any folder or URI prefix that holds them.

Nothing heavy is imported for what lies on this machine: a finished chain asks for digests on every run.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taxi.months import Month, file_name, shortened

TLC = "https://d37ci6vzurychx.cloudfront.net/trip-data"  # Source: TLC Trip Record Data, nyc.gov/tlc
DEFAULT_ROWS = 20_000  # trips a month of the sample
MAX_ROWS = 100_000_000
RETRIES = 3
TIMEOUT_SECONDS = 60  # without a byte, not for the whole file
REMOTE = ("http", "https", "s3", "gs")


class SourceError(ValueError):
    """A month that is not where it was looked for, or a source that is none."""


def sample_rows(source: str) -> int | None:
    """Rows a month of ``sample`` or ``sample:ROWS``; None when the source is another. Raises SourceError."""
    if source == "sample":
        return DEFAULT_ROWS
    if not source.startswith("sample:"):
        return None
    rows = source.removeprefix("sample:").replace("_", "")
    if not re.fullmatch(r"[0-9]{1,9}", rows) or not 1 <= int(rows) <= MAX_ROWS:
        raise SourceError(f"source {shortened(source)}: rows a month are 1 to {MAX_ROWS:,}\nGive e.g. sample:100000.")
    return int(rows)


def known_digests(source: str, taxi: str, names: Sequence[str], *, base_url: str | None = None,
                  cache: Path | None = None, progress: bool = False) -> dict[str, str]:  # fmt: skip
    """Month name -> what identifies its content: SHA-256 of its bytes, or of the sample's recipe."""
    rows = sample_rows(source)
    if rows is not None:
        recipe = {name: json.dumps(["sample", rows, taxi, name]) for name in names}
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in recipe.items()}
    return {name: sha256(path) for name, path in _paths(source, taxi, names, base_url, cache, progress).items()}


def locate(source: str, taxi: str, names: Sequence[str], *, scratch: Path, base_url: str | None = None,
           cache: Path | None = None, progress: bool = False) -> list[Month]:  # fmt: skip
    """The months as files on this machine, digested: made in `scratch` for the sample, fetched when remote.

    Raises SourceError for a month that is not there, naming where it was looked for.
    """
    rows = sample_rows(source)
    if rows is None:
        paths = _paths(source, taxi, names, base_url, cache, progress)
    else:
        from taxi.sample import write_month

        paths = {name: Path(scratch) / file_name(taxi, name) for name in names}
        for name, path in paths.items():
            write_month(path, taxi, name, rows)
    return [Month(taxi, name, path, sha256(path), source) for name, path in paths.items()]


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _paths(source: str, taxi: str, names: Sequence[str], base_url: str | None, cache: Path | None,
           progress: bool) -> dict[str, Path]:  # fmt: skip
    prefix = (base_url or TLC) if source == "tlc" else source
    scheme = urlsplit(prefix).scheme if "://" in prefix else ""
    if scheme in REMOTE:
        folder = Path(cache) if cache else _cache_folder()
        fetch = _http if scheme.startswith("http") else _bucket
        return {name: fetch(prefix.rstrip("/"), file_name(taxi, name), folder, progress) for name in names}
    if scheme not in ("", "file"):
        raise SourceError(
            f"source {shortened(source)} has a scheme that is not taken\n"
            "Give sample, tlc, a folder, or a prefix file://, s3://, gs://, http:// or https://."
        )
    folder = Path(unquote(urlsplit(prefix).path) if scheme else prefix)
    return {name: _local(folder, file_name(taxi, name), source) for name in names}


def _local(folder: Path, name: str, source: str) -> Path:
    path = (folder / name).absolute()
    if path.is_file():
        return path
    try:
        there = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".parquet"))
    except OSError as error:
        raise SourceError(
            f"source {shortened(source)}: {folder} cannot be read as a folder ({error.strerror})\n"
            "Give sample, tlc, or the folder or URI prefix that holds the months; a path is relative to the project."
        ) from None
    what = "is not a file" if path.exists() else "is not there"
    found = ", ".join(there[:12]) + (", ..." if len(there) > 12 else "") if there else "no Parquet file"
    raise SourceError(f"{path} {what} (the folder has {found})\nChoose other months or another taxi, or add the file.")


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("nyc-taxi-duration"))


def _http(prefix: str, name: str, cache: Path, progress: bool) -> Path:
    """The file in the cache, fetched once. Its SHA-256 is kept beside it and checked at each use."""
    import pooch
    import requests

    folder = cache / hashlib.sha256(prefix.encode()).hexdigest()[:16]
    path, recorded = folder / name, folder / f"{name}.sha256"
    if path.is_file() and recorded.is_file() and recorded.read_text().strip() == sha256(path):
        return path
    for stale in (path, recorded):
        stale.unlink(missing_ok=True)
    # pooch downloads beside the file and renames it: complete or absent.
    files = pooch.create(path=folder, base_url=prefix + "/", registry={name: None}, retry_if_failed=RETRIES)
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT_SECONDS)
    with _blaming(f"{prefix}/{name}", (requests.RequestException, ValueError, OSError)):
        files.fetch(name, downloader=downloader)
    _record(path, recorded)
    return path


def _bucket(prefix: str, name: str, cache: Path, progress: bool) -> Path:
    """The object in the cache, by its size and time in the bucket; credentials are pyarrow's own to find."""
    import pyarrow as pa
    import pyarrow.fs

    uri = f"{prefix}/{name}"
    with _blaming(uri, (pa.ArrowException, OSError)):
        store, key = pyarrow.fs.FileSystem.from_uri(uri)
        info = store.get_file_info(key)
        if info.type != pyarrow.fs.FileType.File:
            raise FileNotFoundError("no such object")
        version = hashlib.sha256(f"{uri} {info.size} {info.mtime_ns}".encode()).hexdigest()[:16]
        path, recorded = cache / version / name, cache / version / f"{name}.sha256"
        if not (path.is_file() and recorded.is_file() and recorded.read_text().strip() == sha256(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".part")
            pyarrow.fs.copy_files(key, str(beside), store, pyarrow.fs.LocalFileSystem())
            os.replace(beside, path)
            _record(path, recorded)
    return path


def _record(path: Path, recorded: Path) -> None:
    beside = recorded.with_suffix(".part")
    beside.write_text(sha256(path) + "\n")
    os.replace(beside, recorded)


@contextmanager
def _blaming(uri: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split())[:200]
        raise SourceError(
            f"{uri} cannot be fetched ({type(error).__name__}: {reason})\n"
            "Check the month, the network and the address, or give a folder that holds the months."
        ) from error
