"""Which months a source has, and whether a month that was fetched once is still what its server has."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from taxi.months.month import YEARS, file_name, parse_months, shortened
from taxi.sources.download import (
    TIMEOUT_SECONDS,
    DataSourceError,
    _blaming,
    _record,
    _store,
    _web,
    cache_folder,
    public,
)
from taxi.sources.locate import FORMS, REMOTE, TLC, _file_uri, _scheme, sample_rows

ABSENT = (403, 404, 410)  # TLC's site answers 403 for a month that it does not have
NO_HEAD = (405, 501)


def earlier(month: str, count: int) -> str:
    """The month `count` months before, 2009-01 at the earliest."""
    year, number = map(int, month.split("-"))
    at = max(year * 12 + number - 1 - count, YEARS[0] * 12)
    return f"{at // 12:04}-{at % 12 + 1:02}"


def published(source: str, taxi: str, earliest: str, latest: str, *, base_url: str | None = None) -> Iterator[str]:
    """The months from `earliest` to `latest` that `source` has, newest first, each looked for when it is asked for.

    The sample has every month. `base_url` is a mirror for `tlc`. Raises DataSourceError.
    """
    months = parse_months(f"{earliest}:{latest}")[::-1]
    if sample_rows(source) is not None:
        yield from months
        return
    prefix = (base_url or TLC) if source == "tlc" else source
    scheme = _scheme(prefix) if "://" in prefix else ""
    if scheme in REMOTE:
        has = _on_web if scheme in ("http", "https") else _in_bucket
        yield from (month for month in months if has(_address(prefix, file_name(taxi, month))))
        return
    folder = _file_uri(prefix) if scheme == "file" else None
    if prefix and "://" not in prefix:
        folder = Path(os.path.expanduser(prefix))
    if folder is None:
        raise DataSourceError(f"source {shortened(source)} is none that is known.\n{FORMS}")
    there = _in_folder(source, folder, taxi)
    yield from (month for month in months if month in there)


def _address(prefix: str, name: str) -> str:
    parts = urlsplit(prefix)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def _on_web(uri: str) -> bool:
    import requests

    with _blaming(public(uri)):
        answer = requests.head(uri, timeout=TIMEOUT_SECONDS, allow_redirects=True)
        if answer.status_code in NO_HEAD:
            answer = requests.get(uri, timeout=TIMEOUT_SECONDS, stream=True)
            answer.close()
        if answer.status_code in ABSENT:
            return False
        answer.raise_for_status()
        return True


def _in_bucket(uri: str) -> bool:
    from pyarrow.fs import FileType

    with _blaming(public(uri)):
        store, key = _store(uri)
        return bool(store.get_file_info(key).type == FileType.File)


def _in_folder(source: str, folder: Path, taxi: str) -> set[str]:
    """The months whose files, or folders and links of their names, lie in a folder."""
    pattern = re.compile(re.escape(file_name(taxi, "@")).replace("@", r"([0-9]{4}-[0-9]{2})"))
    try:
        names = os.listdir(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataSourceError(
            f"source {shortened(source)} is no folder to read months from ({reason}).\n{FORMS}"
        ) from None
    return {match[1] for name in names if (match := pattern.fullmatch(name))}


def drop_outdated(taxi: str, names: Sequence[str], *, base_url: str | None = None, cache: Path | None = None) -> None:
    """Delete months of `tlc` from the cache if the server has other files now: they are fetched again when needed.

    TLC's months are fetched once and not asked for again, but now and then TLC publishes a month anew. The server's
    marks of a file (ETag, date, size) are kept beside it; of a file without them the size is compared.
    """
    for name in names:
        uri = _address(base_url or TLC, file_name(taxi, name))
        path = Path(cache or cache_folder()) / lasting_folder(uri) / file_name(taxi, name)
        if path.is_file():
            ask, _ = _web(uri)
            _compare(path, ask, public(uri))


def lasting_folder(uri: str) -> str:
    """The folder of the cache for a file that is published once: `download.downloaded` with `lasting`."""
    return hashlib.sha256(f"{public(uri)} ".encode()).hexdigest()[:16]


def _compare(path: Path, ask: Callable[[], str | None], said: str) -> None:
    with _blaming(said):
        now = ask()
    if now is None:
        return  # the server keeps no marks
    beside = path.with_name(f"{path.name}.server")
    with contextlib.suppress(OSError):  # a cache that cannot be written is read as it is
        if beside.is_file():
            same = beside.read_text(encoding="utf-8") == now
        else:
            same = str(json.loads(now)[-1]) == str(path.stat().st_size)
        if same:
            beside.write_text(now, encoding="utf-8")
            return
        for file in (path, _record(path), beside):
            file.unlink(missing_ok=True)
