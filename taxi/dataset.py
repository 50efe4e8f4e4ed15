"""The artifact between steps: features of three splits as Parquet, the fitted features, and a manifest of it all.

Layout: ``train/2023-01.parquet``, ``val/...``, ``test/...``, ``features/``, and ``manifest.json``, written last. What
is in it depends on the months' contents alone: no paths, no times; the same months give the same bytes.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taxi.features import FEATURE_SETS, FeatureError, FeatureMap, FeatureSet, fit, fold_of
from taxi.months import Month
from taxi.split import Split
from taxi.trips import kept_trips

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"
TRIP = "trip."  # prefix of the raw trips' columns, kept where models are judged
_RAW = ("PULocationID", "DOLocationID", "trip_distance", "pickup_datetime")

Progress = Callable[[int, int], None]


class DatasetError(ValueError):
    """A folder that is not a whole dataset of this version, or months that cannot make one."""


@dataclass(frozen=True)
class Manifest:
    """What a dataset says of itself: see `record`, which is manifest.json."""

    record: Mapping[str, Any]

    @property
    def taxi(self) -> str:
        return self.record["taxi"]

    @property
    def feature_set(self) -> str:
        return self.record["feature_set"]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self.record["splits"])

    def months(self, split: str) -> list[str]:
        return list(self.record["splits"][split])

    def month_span(self, split: str) -> str:
        """``2023-01`` or ``2022-01 .. 2022-12 (12 months)``."""
        months = self.months(split)
        return months[0] if len(months) == 1 else f"{months[0]} .. {months[-1]} ({len(months)} months)"

    def rows(self, split: str) -> int:
        """Trips of the split."""
        return sum(self.record["months"][month]["kept"] for month in self.months(split))

    def files(self, split: str) -> list[str]:
        return [f"{split}/{month}.parquet" for month in self.months(split)]

    def split_digest(self, split: str) -> str:
        """SHA-256 over the digests of the split's files, hex."""
        digests = "".join(self.record["files"][name]["sha256"] for name in self.files(split))
        return hashlib.sha256(digests.encode()).hexdigest()


def build(
    splits: Mapping[str, Sequence[Month]],
    feature_set: FeatureSet,
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Write a dataset into the empty `folder`: one pass over the training months to fit, one over all to write.

    Memory does not grow with months or rows. Raises SchemaError, FeatureError, or DatasetError for a month given twice.
    """
    every = [month for months in splits.values() for month in months]
    names = [month.name for month in every]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not {"train", "val"} <= splits.keys():
        raise DatasetError(f"months given twice: {', '.join(twice) or 'none'}\n Give each month to one split.")
    folder = Path(folder)
    steps = _Steps(progress, sum(_rows(month) for month in (*splits["train"], *every)))
    taken = {month.name: Counter() for month in every}
    features = fit(
        feature_set, (steps.through(_kept(month, feature_set, Counter()), month) for month in splits["train"])
    )
    features.save(folder / "features")
    months: dict[str, Any] = {}
    for split in SPLITS:
        for month in splits.get(split, ()):
            dropped = taken[month.name]
            batches = steps.through(_kept(month, feature_set, dropped), month)
            kept = _write(folder / split / f"{month.name}.parquet", batches, features, split)
            months[month.name] = {
                "sha256": month.digest,
                "read": kept + sum(dropped.values()),
                "kept": kept,
                "dropped": dict(sorted(dropped.items())),
            }
    columns = [{"name": c.name, "known": c.known, "categorical": c.categorical} for c in feature_set.columns]
    record = {
        "schema": SCHEMA_VERSION,
        "taxi": every[0].taxi,
        "feature_set": feature_set.name,
        "columns": columns,
        "splits": {split: [month.name for month in months] for split, months in splits.items()},
        "months": months,
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": _sha256(path), "bytes": path.stat().st_size}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    _write_beside(folder / MANIFEST, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    return Manifest(record)


class _Steps:
    """Rows done of rows to do, over several passes."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def through(self, batches: Iterator[pa.RecordBatch], month: Month) -> Iterator[pa.RecordBatch]:
        rows, passed = _rows(month), 0
        for batch in batches:
            yield batch
            passed += batch.num_rows
            self._progress(self._done + passed, self._total)
        self._done += rows
        self._progress(self._done, self._total)


def _rows(month: Month) -> int:
    try:
        return pq.read_metadata(month.path).num_rows
    except (pa.ArrowException, OSError):
        return 0  # reading the month says what is wrong with it


def _kept(month: Month, feature_set: FeatureSet, dropped: Counter) -> Iterator[pa.RecordBatch]:
    return kept_trips(month, feature_set.in_month, dropped)


def _write(path: Path, batches: Iterator[pa.RecordBatch], features: FeatureMap, split: str) -> int:
    """One month's features and durations, and for the splits that judge the trips themselves; rows written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, writer, rows = path.with_suffix(".part"), None, 0
    try:
        for batch in batches:
            fold = fold_of(rows, batch.num_rows) if split == "train" else None
            made = features.transform(batch, fold)
            columns = dict(zip(made.schema.names, made.columns, strict=True)) | {"duration": batch["duration"]}
            if split != "train":
                columns |= {TRIP + name: batch[name] for name in _RAW}
            table = pa.record_batch(columns)
            writer = writer or pq.ParquetWriter(beside, table.schema, compression="zstd", use_dictionary=False)
            writer.write_batch(table)
            rows += batch.num_rows
    finally:
        if writer:
            writer.close()
    _settle(beside, path)
    return rows


def _write_beside(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    _settle(beside, path)


def _settle(beside: Path, path: Path) -> None:
    """Complete or absent: on the disk before it has its name."""
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A whole dataset on this machine, every file of which had its recorded digest when it was opened."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path | str) -> "Dataset":
        """Raises DatasetError for anything else."""
        folder = Path(folder)
        try:
            record = json.loads((folder / MANIFEST).read_bytes())
            if record["schema"] != SCHEMA_VERSION:
                raise DatasetError(f"{folder} is a dataset of another version of this project\n Make it again.")
            files = {str(name): str(entry["sha256"]) for name, entry in record["files"].items()}
            manifest = Manifest(record)
            expected = [name for split in manifest.splits for name in manifest.files(split)]
            FEATURE_SETS[manifest.feature_set]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(
                f"{folder} is not a dataset: {MANIFEST} cannot be read ({type(error).__name__})\n"
                " Give what preprocess leaves behind: runs:/<run id>/dataset"
            ) from error
        for name in {*files, *expected}:
            path = folder / name
            inside = path.resolve().is_relative_to(folder.resolve())
            if not inside or name not in files or not path.is_file():
                raise DatasetError(f"{folder}: {name[:100]!r} is missing\n Run preprocess again.")
            if _sha256(path) != files[name]:
                raise DatasetError(f"{folder}: {name} was altered after it was made\n Run preprocess again.")
        return cls(folder, manifest)

    @cached_property
    def features(self) -> FeatureMap:
        try:
            return FeatureMap.load(self.folder / "features")
        except FeatureError as error:
            raise DatasetError(str(error)) from error

    def load(self, split: str) -> Split:
        """The split in memory, in the order of its files."""
        features = self.features
        names = features.columns
        table = self._read(split, [*names, "duration"])
        columns = {name: table[name].to_numpy() for name in names}
        X = features.matrix(columns)
        labels = names if features.feature_set.name != "course" else _course_columns(features)
        categorical = features.categorical if features.feature_set.name != "course" else frozenset()
        return Split(X, table["duration"].to_numpy(), labels, categorical)

    def trips(self, split: str):
        """The split's raw trips as a DataFrame in the same order: zones, miles, pickup_datetime. Not for train."""
        table = self._read(split, [TRIP + name for name in _RAW])
        return table.rename_columns(list(_RAW)).to_pandas()

    def _read(self, split: str, columns: list[str]) -> pa.Table:
        if split not in self.manifest.splits:
            raise DatasetError(f"{self.folder} has no {split} split\n Give {split}_months to preprocess.")
        try:
            # One thread: trials run side by side, and the rest of the machine is theirs.
            files = [self.folder / name for name in self.manifest.files(split)]
            return pa.concat_tables([pq.read_table(file, columns=columns, use_threads=False) for file in files])
        except (pa.ArrowException, KeyError) as error:
            raise DatasetError(f"{self.folder}: {split} cannot be read ({error})\n Run preprocess again.") from error


def _course_columns(features) -> tuple[str, ...]:
    return (*(f"PU_DO={pickup}_{dropoff}" for pickup, dropoff in features.pairs.tolist()), "trip_distance")


def searched_splits(folder: Path) -> tuple[Split, Split]:
    """Train and val of a dataset, for a worker whose parent has opened and checked it."""
    dataset = Dataset.open(folder)
    return dataset.load("train"), dataset.load("val")
