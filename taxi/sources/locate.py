"""Where raw months come from: the embedded sample, TLC's own site, or any folder or URI prefix that holds them.

Nothing heavy is imported for what lies on this machine: a finished chain asks for digests on every run.
"""

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.files import sha256_file
from runtime.progress import bar, counted
from taxi.city import sample
from taxi.months.month import Month, file_name, shortened
from taxi.sources.download import DataSourceError, downloaded, public

__all__ = ["TLC", "DataSourceError", "known_digests", "locate", "public", "sample_rows", "sha256_file"]

TLC = "https://d37ci6vzurychx.cloudfront.net/trip-data"  # Source: TLC Trip Record Data, nyc.gov/tlc
MAX_ROWS = 100_000_000  # of a sample month: 20 times TLC's largest
REMOTE = ("http", "https", "s3", "gs")
FORMS = "Use sample, sample:ROWS, tlc, a folder, or a prefix file://, s3://, gs://, http:// or https://."
SHOWN = 12  # names of files in an error


def sample_rows(source: str) -> int | None:
    """Rows a month of `sample` or `sample:ROWS`; None when the source is another. Raises DataSourceError."""
    if source == "sample":
        return sample.ROWS
    if not source.startswith("sample:"):
        return None
    rows = source.removeprefix("sample:")
    if not re.fullmatch(r"[0-9]{1,9}", rows) or not 1 <= int(rows) <= MAX_ROWS:
        raise DataSourceError(f"source {shortened(source)}: rows a month are 1 to {MAX_ROWS}.\nUse e.g. sample:100000.")
    return int(rows)


def known_digests(source: str, taxi: str, names: Sequence[str], *, base_url: str | None = None,
                  cache: Path | None = None, progress: bool = False) -> dict[str, str]:  # fmt: skip
    """Month name -> what identifies its content: SHA-256 of its bytes, or of the sample's recipe.

    No month of the sample is made; remote months are fetched. Raises DataSourceError.
    """
    rows = sample_rows(source)
    if rows is not None:
        return {name: sample.spec_digest(taxi, name, rows) for name in names}
    return _digests(_paths(source, taxi, names, base_url, cache, progress))


def locate(source: str, taxi: str, names: Sequence[str], *, scratch: Path | None = None, base_url: str | None = None,
           cache: Path | None = None, progress: bool = False) -> list[Month]:  # fmt: skip
    """The months as files on this machine, digested, in the order of `names`.

    The sample is made in `scratch`, a new temporary folder unless given; what is remote is fetched into `cache`, the
    user's own unless given; `base_url` is a mirror for `tlc`. Raises DataSourceError, naming where was looked.
    """
    rows = sample_rows(source)
    if rows is None:
        paths = _paths(source, taxi, names, base_url, cache, progress)
    else:
        paths = _made(Path(scratch or tempfile.mkdtemp(prefix="sample-")), taxi, names, rows, progress)
    digests = _digests(paths)
    return [Month(taxi, name, path, digests[name], public(source)) for name, path in paths.items()]


def _made(folder: Path, taxi: str, names: Sequence[str], rows: int, progress: bool) -> dict[str, Path]:
    paths = {name: folder / file_name(taxi, name) for name in names}
    drawn = bar("make sample", rows * len(paths), "rows", progress)
    try:
        for name, path in paths.items():
            sample.write_month(path, taxi, name, rows, drawn.update)
    except OSError as error:
        raise DataSourceError(
            f"the sample cannot be written to {folder} ({error.strerror}).\n"
            "Make room there, set TMPDIR to another folder, or ask for fewer rows."
        ) from error
    finally:
        drawn.close()
    return paths


def _paths(source: str, taxi: str, names: Sequence[str], base_url: str | None, cache: Path | None,
           progress: bool) -> dict[str, Path]:  # fmt: skip
    prefix = (base_url or TLC) if source == "tlc" else source
    if "://" not in prefix:
        folder = Path(os.path.expanduser(prefix)) if prefix else None
    elif (scheme := _scheme(prefix)) == "file":
        folder = _file_uri(prefix)
    elif scheme in REMOTE:
        lasting = source == "tlc"
        return {name: downloaded(prefix, file_name(taxi, name), cache, lasting, progress) for name in names}
    else:
        folder = None
    if folder is None:
        raise DataSourceError(f"source {shortened(source)} is none that is known.\n{FORMS}")
    return {name: _local(folder, file_name(taxi, name), source) for name in names}


def _scheme(prefix: str) -> str | None:
    """The scheme of a URI that names a place and nothing else; None where it is no such URI."""
    try:
        parts = urlsplit(prefix)
        parts.port  # noqa: B018, raises ValueError where it is no number
    except ValueError:
        return None
    if not prefix.isprintable() or parts.fragment or (parts.query and parts.scheme not in ("s3", "gs")):
        return None
    return parts.scheme if parts.scheme == "file" or parts.hostname else None


def _file_uri(prefix: str) -> Path | None:
    parts = urlsplit(prefix)
    return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") and parts.path else None


def _local(folder: Path, name: str, source: str) -> Path:
    path = Path(os.path.abspath(folder)) / name
    try:
        there = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".parquet"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataSourceError(
            f"source {shortened(source)}: {shortened(str(path.parent), 200)} is no folder to read months "
            f"from ({reason}).\n{FORMS}"
        ) from None
    if os.path.isfile(path):
        return path
    found = ", ".join(there[:SHOWN]) + (", ..." if len(there) > SHOWN else "") if there else "no Parquet file"
    remedy = "Add the file, or choose other months or another taxi."
    raise DataSourceError(f"{path.parent} {_instead(path)} {name} (it holds {found}).\n{remedy}")


def _instead(path: Path) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "does not hold"
    if stat.S_ISLNK(mode):
        return "holds only a broken link"
    return "holds only a folder named" if stat.S_ISDIR(mode) else "holds no regular file"


def _digests(paths: dict[str, Path]) -> dict[str, str]:
    sizes = {name: os.path.getsize(path) if os.path.isfile(path) else 0 for name, path in paths.items()}
    every = counted(paths.items(), "digest months", sum(sizes.values()), "B", lambda item: sizes[item[0]])
    return {name: _digest(path) for name, path in every}


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataSourceError(f"{path} cannot be read ({error.strerror}).\nMake it readable, or use a copy.") from error
