"""Remote months, fetched once into a cache that can be deleted at any time.

Beside each file lies what it was when it came: its SHA-256, checked at each use. A file is whole or absent: it is
written beside and renamed, and counts only once its record is there.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from runtime.files import sha256_file
from runtime.progress import bar
from runtime.scratch import scratch_folder

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

RETRIES = 3  # after the first try, a second apart and more
TIMEOUT_SECONDS = 30  # without a byte, not for the whole file
READ_BYTES = 1 << 18  # at a time
MAGIC = b"PAR1"  # at both ends of a Parquet file

Ask = Callable[[], str | None]  # the version of a file, from its server; None where it keeps none
Fetch = Callable[[Path, bool], Path]  # the file, to a path, with progress or without


class DataSourceError(ValueError):
    """A month that is not where it was looked for, or a source that is none."""


def cache_folder() -> Path:
    """The user's own: ~/.cache/nyc-taxi-duration, under XDG_CACHE_HOME where that is set."""
    import pooch

    return Path(pooch.os_cache("nyc-taxi-duration"))


def downloaded(prefix: str, name: str, cache: Path | None = None, lasting: bool = False, progress: bool = False,
            parquet: bool = True) -> Path:  # fmt: skip
    """The file `name` under a prefix http(s)://, s3:// or gs://, in the cache; `parquet`: nothing but a Parquet file.

    `lasting` files are published once: a whole one in the cache is not asked for again. Of others the server is asked
    for the version, and each version has its own place. Raises DataSourceError, without credentials.
    """
    parts = urlsplit(prefix)
    uri = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))
    said = public(uri)
    ask, fetch = _web(uri) if parts.scheme in ("http", "https") else _bucket(uri)
    with _blaming(said):
        version = "" if lasting else ask()
        folder = Path(cache or cache_folder()) / hashlib.sha256(f"{said} {version}".encode()).hexdigest()[:16]
        path = folder / name
        if version is not None and _whole(path):
            return path
        with _blaming_cache(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with scratch_folder(".part", folder.parent) as beside:
                _keep(fetch(beside / name, progress), path, said, parquet)
    return path


def public(uri: str) -> str:
    """A source without the user, password and query of a URI, fit for errors, tags and logs."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _whole(path: Path) -> bool:
    """Whether a file in the cache is still what was recorded of it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads(_record(path).read_text(encoding="utf-8"))["sha256"] == sha256_file(path)
    return False


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _keep(came: Path, path: Path, said: str, parquet: bool) -> None:
    """Move a file that came, and a record of it, to their places."""
    with open(came, "rb") as file:
        first = file.read(4)
        file.seek(max(0, came.stat().st_size - 4))
        if parquet and {first, file.read()} != {MAGIC}:
            raise DataSourceError(
                f"{said} is not a Parquet file.\nCheck the address: it may have answered with a page."
            )
        os.fsync(file.fileno())
    record = _record(came)
    record.write_text(json.dumps({"uri": said, "sha256": sha256_file(came)}, indent=1) + "\n", encoding="utf-8")
    os.replace(came, path)
    os.replace(record, _record(path))


def _web(uri: str) -> tuple[Ask, Fetch]:
    import pooch
    import requests

    def ask() -> str | None:
        answer = requests.head(uri, timeout=TIMEOUT_SECONDS, allow_redirects=True)
        if answer.status_code in (403, 404, 410):
            raise _refused(answer.status_code)
        marks = [answer.headers.get(name) for name in ("ETag", "Last-Modified", "Content-Length")]
        return json.dumps(marks) if answer.ok and any(marks[:2]) else None

    def download(uri: str, path: str, progress: bool) -> None:
        with requests.get(uri, stream=True, timeout=TIMEOUT_SECONDS) as answer, open(path, "wb") as file:
            if 400 <= answer.status_code < 500 and answer.status_code not in (408, 429):
                raise _refused(answer.status_code)
            answer.raise_for_status()  # pooch tries again
            size = int(answer.headers.get("Content-Length", 0)) or None
            with closing(bar(f"fetch {PurePosixPath(urlsplit(uri).path).name}", size, "B", progress)) as drawn:
                for block in answer.iter_content(READ_BYTES):
                    file.write(block)
                    drawn.update(len(block))

    def fetch(path: Path, progress: bool) -> Path:
        pooch.get_logger().setLevel("WARNING")  # it would print the URI, with any password
        files = pooch.Pooch(path.parent, "", registry={path.name: None}, urls={path.name: uri}, retry_if_failed=RETRIES)
        return Path(files.fetch(path.name, downloader=lambda uri, beside, _: download(uri, beside, progress)))

    return ask, fetch


def _refused(code: int) -> OSError:
    return FileNotFoundError(f"the server answered {code}, as for a month it does not have")


def _bucket(uri: str) -> tuple[Ask, Fetch]:
    def found() -> tuple["FileSystem", str, "FileInfo"]:
        from pyarrow.fs import FileType

        store, key = _store(uri)
        info = store.get_file_info(key)
        if info.type != FileType.File:
            raise FileNotFoundError("there is no such object")
        return store, key, info

    def ask() -> str:
        *_, info = found()
        return f"{info.size} {info.mtime_ns}"

    def fetch(path: Path, progress: bool) -> Path:
        store, key, info = found()
        drawn = bar(f"fetch {path.name}", info.size, "B", progress)
        with closing(drawn), store.open_input_stream(key, compression=None) as stream, open(path, "wb") as file:
            while block := stream.read(READ_BYTES):
                file.write(block)
                drawn.update(len(block))
        if path.stat().st_size != info.size:
            raise OSError(f"{path.stat().st_size:,} of {info.size:,} bytes came")
        return path

    return ask, fetch


def _store(uri: str) -> tuple["FileSystem", str]:
    """pyarrow's file system for a URI, and the key in it; credentials are pyarrow's own to find."""
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(uri)


@contextmanager
def _blaming_cache(folder: Path) -> Iterator[None]:
    """A cache that cannot be written is another mistake than a month that cannot be fetched."""
    try:
        yield
    except OSError as error:
        in_cache = str(error.filename or "").startswith(str(folder.parent))
        if not in_cache and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataSourceError(
            f"the cache {folder} cannot be written ({error.strerror}).\nMake room, or set XDG_CACHE_HOME to a folder."
        ) from error


@contextmanager
def _blaming(said: str) -> Iterator[None]:
    """Turn what went wrong on the way into one DataSourceError; a mistake of ours keeps its traceback."""
    try:
        yield
    except DataSourceError:
        raise
    except (OSError, ValueError) as error:  # requests' and pyarrow's are one or the other
        reason = type(error).__name__ if "@" in str(error) else " ".join(str(error).split())[:160]
        raise DataSourceError(
            f"{said} cannot be fetched ({reason}).\n"
            "Check the month, the address and the network, or give a folder that holds the months."
        ) from error
