"""Making a dataset: the valid trips of each month, and the features fitted on the training months, in one pass.

What is kept of a trip is what features are made of, not the features: a quarter of the bytes, and every model sees
the same columns from `FeatureMap.transform` that a served trip gets.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taxi.ahead import ahead
from taxi.features import FeatureMap, FeatureSet, Fitting
from taxi.leaks import CHECKED_ROWS, check_declarations, leak_warnings
from taxi.manifest import SCHEMA_VERSION, SPLITS, Manifest, file_sha256, settle
from taxi.months import Month
from taxi.trips import VALID_SCHEMA, kept_trips

ROW_GROUP = 131_072  # trips; a group in memory is 4 MiB. Groups are cut here, however the months were read.
FORMAT = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["PULocationID", "DOLocationID", "trip_distance", "duration"],  # seldom more than some thousand
    "column_encoding": {"pickup_datetime": "DELTA_BINARY_PACKED"},  # months are nearly in order of time
    "write_statistics": False,
}  # 5 bytes a trip, 9 on real months; 70 ns to write and 20 to read it, of all the settings tried the least of both

Progress = Callable[[int, int], None]


class DatasetError(ValueError):
    """A folder that is not a whole dataset of this version, or months that cannot make one."""


@dataclass(frozen=True)
class Written:
    """A month as it went into a dataset: SHA-256 of the raw file (hex), trips kept, and dropped by reason."""

    digest: str
    kept: int
    dropped: Mapping[str, int]


def write_month(month: Month, in_month: bool, path: Path, seen: Callable = lambda batch, kept: None) -> Written:
    """Write a month's valid trips to `path`; `seen` gets each batch, and the trips kept with it."""
    dropped: Counter = Counter()
    kept = 0
    with pq.ParquetWriter(path, VALID_SCHEMA, **FORMAT) as writer:
        # Reading and filtering take as long as writing: side by side, in two threads.
        for batch in ahead(regrouped(kept_trips(month, in_month, dropped), ROW_GROUP)):
            writer.write_batch(batch)
            kept += batch.num_rows
            seen(batch, kept)
    return Written(month.digest, kept, dict(sorted(dropped.items())))


def build(
    splits: Mapping[str, Sequence[Month]],
    feature_set: FeatureSet,
    folder: Path,
    progress: Progress = lambda done, total: None,
    written: Callable[[Month, Path], Written] | None = None,
) -> Manifest:
    """Write a dataset into the empty `folder`; `progress` is told rows read and rows to read.

    `written(month, path)` puts in place a month that was written elsewhere; of `month` only taxi and name are needed
    then. Memory does not grow with months or rows. Raises SchemaError, FeatureError, or DatasetError for months that
    overlap; what was written by then has no manifest, so is no dataset.
    """
    splits = {split: list(splits[split]) for split in SPLITS if splits.get(split)}
    _check_months(splits)
    folder, fitting = Path(folder), Fitting(feature_set)
    done, total = 0, 0 if written else sum(_raw_rows(month) for months in splits.values() for month in months)
    months: dict[str, Any] = {}
    sample: pa.RecordBatch | None = None
    for split, wanted in splits.items():
        (folder / split).mkdir(parents=True)
        for month in wanted:
            path = folder / split / f"{month.name}.parquet"
            beside = path.with_suffix(".part")

            def seen(batch: pa.RecordBatch, kept: int, split: str = split, before: int = done) -> None:
                nonlocal sample
                if split == "train":
                    fitting.add(batch)
                    sample = sample or batch.slice(0, CHECKED_ROWS)
                progress(before + kept, total)

            if written is None:
                part = write_month(month, feature_set.in_month, beside, seen)
            else:
                part = written(month, beside)
                with pq.ParquetFile(beside) as file:
                    for batch in file.iter_batches(ROW_GROUP, use_threads=False) if split == "train" else ():
                        seen(batch, 0)
            settle(beside, path)
            read = part.kept + sum(part.dropped.values())
            months[month.name] = {"sha256": part.digest, "read": read, "kept": part.kept, "dropped": part.dropped}
            done += read
            progress(done, total)
    features = fitting.finish()
    warnings = _looked_at(features, sample)
    features.save(folder / "features")
    manifest = Manifest(
        {
            "schema": SCHEMA_VERSION,
            "taxi": splits["train"][0].taxi,
            "feature_set": feature_set.name,
            "known": feature_set.known,
            "columns": [asdict(column) for column in feature_set.columns],
            "warnings": warnings,
            "splits": {split: [month.name for month in wanted] for split, wanted in splits.items()},
            "months": months,
            "files": {
                path.relative_to(folder).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
    )
    manifest.save(folder)
    return manifest


def _check_months(splits: Mapping[str, Sequence[Month]]) -> None:
    for split in ("train", "val"):
        if split not in splits:
            raise DatasetError(f"there are no {split} months\nGive {split}_months, such as 2023-01.")
    split_of: dict[str, str] = {}
    for split, months in splits.items():
        for month in months:
            if month.name in split_of:
                twice = f"both a {split_of[month.name]} and a {split} month"
                twice = f"twice a {split} month" if split_of[month.name] == split else twice
                raise DatasetError(f"{month.name} is {twice}\nGive each month to one split, once.")
            split_of[month.name] = split


def _looked_at(features: FeatureMap, sample: pa.RecordBatch) -> list[str]:
    """Refuse columns that break their declaration; warn of those that know the answer."""
    check_declarations(features, sample)
    made = features.transform(sample)
    numeric = [column.name for column in features.feature_set.columns if not column.categorical]
    return leak_warnings({name: made[name].to_numpy() for name in numeric}, sample["duration"].to_numpy())


def _raw_rows(month: Month) -> int:
    try:
        return pq.read_metadata(month.path).num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return 0  # reading the month says what is wrong with it


def regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same trips in batches of exactly `rows` (the last may be shorter), each in one piece of memory."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            whole = _joined(waiting)
            yield whole.slice(0, rows)
            waiting, count = [whole.slice(rows)], count - rows
    if count:
        yield _joined(waiting)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
