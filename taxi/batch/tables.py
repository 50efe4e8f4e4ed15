"""Raw trips in any file, read as a stream of batches; predictions written whole or not at all. Local paths and URIs."""

import csv as text_csv
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv, fs

from runtime.files import replace_file, sha256_file
from runtime.scratch import scratch_folder
from taxi.months.trips import BATCH_ROWS, READ_BYTES
from taxi.sources.download import MAGIC, downloaded, public

CSV_BYTES = 1 << 23  # of a CSV file in memory at a time
HEADER_BYTES = 1 << 16  # of a CSV file's first line, at most
DELIMITERS = ",;\t|"
NAMES = (".csv", ".tsv", ".txt")  # of files of text; each also with .gz
GZIP = b"\x1f\x8b"
FORMS = "Give a Parquet or CSV file: a path, or a URI file://, s3://, gs:// or https://."


class TableError(ValueError):
    """A file that cannot be read as a table, lacks a column, or cannot be written."""


@dataclass(frozen=True)
class Table:
    """A file of rows. `schema` is of the columns that were asked for; those of a CSV file are text."""

    uri: str  # without credentials
    schema: pa.Schema
    rows: int | None  # None where only reading it all tells
    _open: Callable[[], Iterator[pa.RecordBatch]]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every row in order, in batches; memory does not grow with their number. Raises TableError."""
        with _blaming(self.uri):
            yield from self._open()


@contextmanager
def open_table(uri: str, columns: Sequence[str]) -> Iterator[Table]:
    """The columns of the table at `uri`, a path or URI. Raises TableError, naming every column that is missing."""
    said = public(uri)
    with ExitStack() as files:
        with _blaming(said):
            store, key = _place(uri)
            with store.open_input_stream(key, compression=None) as stream:
                first = stream.read(len(MAGIC))
            if first != MAGIC and not key.lower().removesuffix(".gz").endswith(NAMES):
                raise TableError(f"{said} is no Parquet file, and is not named .csv\n {FORMS}")
            if first == MAGIC:
                table = _parquet(files, store, key, said, list(columns))
            else:
                table = _csv(store, key, said, list(columns), "gzip" if first.startswith(GZIP) else None)
        yield table


def _parquet(files: ExitStack, store: fs.FileSystem, key: str, said: str, columns: list[str]) -> Table:
    source = files.enter_context(store.open_input_file(key))
    file = files.enter_context(pq.ParquetFile(source, buffer_size=READ_BYTES, coerce_int96_timestamp_unit="us"))
    schema = _chosen(file.schema_arrow, columns, said)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            yield batch.select(columns)

    return Table(said, schema, file.metadata.num_rows, batches)


def _csv(store: fs.FileSystem, key: str, said: str, columns: list[str], compression: str | None) -> Table:
    with store.open_input_stream(key, compression=compression) as stream:
        start = stream.read(HEADER_BYTES)
    names, delimiter = _header(start, columns, said)
    bare = len(start) < HEADER_BYTES and not start.partition(b"\n")[2].strip()  # in which Arrow finds no table
    _chosen(pa.schema([(name, pa.string()) for name in names]), columns, said)
    # As text: a type guessed from the first rows would be refused by a later one.
    schema = pa.schema([(name, pa.string()) for name in columns])
    convert = csv.ConvertOptions(column_types=schema, include_columns=columns, strings_can_be_null=True)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = csv.ReadOptions(use_threads=False, block_size=CSV_BYTES)

    def batches() -> Iterator[pa.RecordBatch]:
        if bare:
            return
        with (
            store.open_input_stream(key, compression=compression) as stream,
            csv.open_csv(stream, read, parse, convert) as reader,
        ):
            yield from reader

    return Table(said, schema, None, batches)


def _header(start: bytes, columns: list[str], said: str) -> tuple[list[str], str]:
    """The names in the first line of a CSV file, and what stands between them: that which gives the most columns."""
    if not start.strip():
        raise TableError(f"{said} is empty\n {FORMS}")
    try:
        line = start.splitlines()[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{said} is not text in UTF-8\n Save it as CSV in UTF-8.") from error
    rows = {delimiter: next(text_csv.reader([line], delimiter=delimiter), []) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: (len({*rows[delimiter]} & {*columns}), len(rows[delimiter])))
    return rows[best], best


def _chosen(schema: pa.Schema, columns: list[str], said: str) -> pa.Schema:
    for what, count in (("no column", 0), ("more than one column", 2)):
        wrong = [name for name in columns if min(len(schema.get_all_field_indices(name)), 2) == count]
        if wrong:
            found = " ".join(", ".join(schema.names).split())[:300]
            raise TableError(f"{said} has {what} {', '.join(wrong)} (found: {found})\n"
                             " Give raw trips with TLC's column names, of the taxi that the model is for.")  # fmt: skip
    return pa.schema([schema.field(name) for name in columns])


@contextmanager
def table_writer(uri: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that adds a batch to the Parquet file at `uri`, of which nothing is there unless the block ends well.

    Raises TableError.
    """
    said = public(uri)
    with _blaming(said, "written"):
        store, key = _place(uri)
        local = Path(key) if isinstance(store, fs.LocalFileSystem) else None
    if local and (local.is_dir() or not local.parent.is_dir()):
        what = "is a folder" if local.is_dir() else "is in a folder that is not there"
        raise TableError(f"{said} {what}\n Name a file in a folder that is there.")
    # Beside its place, for a rename that is at once; what a killed run left there goes first.
    place = (f".{local.name[:100]}.part", local.parent) if local else ("predictions", None)
    with ExitStack() as stack:
        with _blaming(said, "written"):
            beside = stack.enter_context(scratch_folder(*place)) / "part"

        def write(batch: pa.RecordBatch) -> None:
            with _blaming(said, "written"):
                writer.write_batch(batch)

        with _blaming(said, "written"):
            writer = pq.ParquetWriter(beside, schema, compression="zstd")
        try:
            yield write
        finally:
            with _blaming(said, "written"):
                writer.close()
        with _blaming(said, "written"):
            replace_file(beside, local) if local else _sent(beside, store, key)


def _sent(path: Path, store: fs.FileSystem, key: str) -> None:
    """Upload under another name first: an upload that breaks off may leave its beginning there."""
    part = f"{key}.part"
    try:
        with open(path, "rb") as source, store.open_output_stream(part, compression=None) as stream:
            while block := source.read(READ_BYTES):
                stream.write(block)
        store.move(part, key)
    except BaseException:
        with suppress(OSError):
            store.delete_file(part)
        raise


def same_file(one: str, other: str) -> bool:
    """Whether two paths or URIs name one file, however they spell it: links, also hard ones, and letters' case."""
    with suppress(pa.ArrowException, OSError, TableError):
        (store, key), (other_store, other_key) = _place(one, fetch=False), _place(other, fetch=False)
        if not isinstance(store, fs.LocalFileSystem) or not isinstance(other_store, fs.LocalFileSystem):
            return store.type_name == other_store.type_name and key == other_key
        return os.path.realpath(key) == os.path.realpath(other_key) or os.path.samefile(key, other_key)
    return one == other


def sha256_of(uri: str) -> tuple[str, int]:
    """SHA-256, hex, and size in bytes of what lies at a path or URI. Raises TableError."""
    with _blaming(public(uri)):
        store, key = _place(uri)
        if isinstance(store, fs.LocalFileSystem):
            return sha256_file(Path(key)), os.path.getsize(key)
        digest, size = hashlib.sha256(), 0
        with store.open_input_stream(key, compression=None) as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
                size += len(block)
        return digest.hexdigest(), size


def _place(uri: str, fetch: bool = True) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system and the key in it; what only a web server has is fetched into the cache of months."""
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    if uri.startswith("file://"):  # as people write it, too: with blanks and umlauts as they are
        return fs.LocalFileSystem(), os.path.abspath("/" + unquote(uri.removeprefix("file://").partition("/")[2]))
    if fetch and uri.split("://")[0] in ("http", "https"):
        prefix, _, name = uri.rpartition("/")
        return fs.LocalFileSystem(), str(downloaded(prefix, name, parquet=False))
    return fs.FileSystem.from_uri(uri)


@contextmanager
def _blaming(said: str, verb: str = "read") -> Iterator[None]:
    """Turn what pyarrow and the machine say of a file into one TableError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = type(error).__name__ if "@" in str(error) else " ".join(str(error).split())[:160]
        raise TableError(f"{said} cannot be {verb} ({reason})\n {FORMS}") from error
