"""Build a dataset: the valid trips of each month, and the features fitted on the training months, in one pass.

A dataset keeps the raw columns of a trip, not its features. That takes a quarter of the bytes. And each model gets its
features from `FeatureMap.transform`, in training and in serving.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from runtime.files import sha256_file
from taxi.dataset.manifest import SCHEMA_VERSION, SPLITS, Manifest
from taxi.dataset.month_files import ROW_GROUP, Written, marked, months_here
from taxi.features.fitting import FeatureMap, FeatureSet, Fitting
from taxi.features.leaks import CHECKED_ROWS, check_declarations, leak_warnings, spread
from taxi.months.month import Month

Progress = Callable[[int, int], None]


class DatasetError(ValueError):
    """A folder is not a complete dataset of this version, or no dataset can be made from these months."""


def build(
    splits: Mapping[str, Sequence[Month]],
    feature_set: FeatureSet,
    folder: Path,
    progress: Progress = lambda done, total: None,
    written: Callable[[Month, Path], Written] | None = None,
) -> Manifest:
    """Write a dataset into the empty `folder`. Memory does not grow with months or rows.

    progress: receives (rows read, rows to read).
    written: ``written(month, path)`` gives a month that was written elsewhere. Then only taxi and name of `month` are
        used.

    Raises DatasetError for months that overlap, SchemaError for a bad raw file and FeatureError for bad features. After
    an error the folder has no manifest, so it is not a dataset.
    """
    splits = {split: list(splits[split]) for split in SPLITS if splits.get(split)}
    _check_months(splits)
    folder, learning = Path(folder), _Learning(feature_set, splits["train"])
    paths = {month: folder / split / f"{month.name}.parquet" for split in splits for month in splits[split]}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    reading = _Reading(progress, paths, 0 if written else sum(_raw_rows(month) for month in paths))

    def seen(month: Month, batch: pa.RecordBatch, kept: int, last: bool) -> None:
        learning.add(month, batch, last)
        reading.told(month, kept)

    parts: dict[Month, Written] = {}
    with nullcontext(written) if written else months_here(paths, feature_set.in_month, seen) as month_written:
        for month in splits["train"]:
            parts[month] = month_written(month, paths[month])
            if written:
                learning.add_file(month, paths[month])
            reading.told(month, _rows_read(parts[month]))
        features, warnings = learning.result()
        for month in (month for split, months in splits.items() if split != "train" for month in months):
            parts[month] = month_written(month, paths[month])
            reading.told(month, _rows_read(parts[month]))
    features.save(folder / "features")
    files = {paths[month]: (part.sha256, part.size) for month, part in parts.items()}
    files |= {path: (sha256_file(path), path.stat().st_size) for path in (folder / "features").iterdir()}
    manifest = Manifest(
        {
            "schema": SCHEMA_VERSION,
            "taxi": splits["train"][0].taxi,
            "feature_set": feature_set.name,
            "known": feature_set.known,
            "columns": [asdict(column) for column in feature_set.columns],
            "warnings": warnings,
            "splits": {split: [month.name for month in wanted] for split, wanted in splits.items()},
            "months": {month.name: _month_record(part) for month, part in parts.items()},
            "files": {
                path.relative_to(folder).as_posix(): {"sha256": sha256, "bytes": size}
                for path, (sha256, size) in sorted(files.items())
            },
        }
    )
    manifest.save(folder)
    return manifest


def _month_record(part: Written) -> dict[str, Any]:
    """What the manifest says of a month."""
    return {"sha256": part.digest, "read": _rows_read(part), "kept": part.kept, "dropped": part.dropped}


def _rows_read(part: Written) -> int:
    """Number of raw trips of a month."""
    return part.kept + sum(part.dropped.values())


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


def _raw_rows(month: Month) -> int:
    try:
        return pq.read_metadata(month.path).num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return 0  # the error is raised when the month is read


class _Learning:
    """Learns the features from the training months: batches in any order, added by one thread at a time.

    After the last batch of the last month a thread of its own fits the features, while other months are written.
    """

    def __init__(self, feature_set: FeatureSet, months: Sequence[Month]) -> None:
        self._fitting, self._awaited = Fitting(feature_set), set(months)
        self._first = months[0]
        self._sample: pa.RecordBatch | None = None

    def add(self, month: Month, batch: pa.RecordBatch, last: bool) -> None:
        """Add a batch of a month. `last`: whether it is the last one of this month."""
        if month not in self._awaited:
            return
        self._fitting.add(batch)
        if month == self._first and self._sample is None:
            self._sample = spread(batch, CHECKED_ROWS)
        if last:
            self._awaited.remove(month)
            if not self._awaited:
                thread = ThreadPoolExecutor(1, thread_name_prefix="features")
                self._learned = thread.submit(self._learn)
                thread.shutdown(wait=False)

    def add_file(self, month: Month, path: Path) -> None:
        """Add all batches of a month that is already written."""
        with pq.ParquetFile(path) as file:
            for batch, last in marked(file.iter_batches(ROW_GROUP, use_threads=False)):
                self.add(month, batch, last)

    def result(self) -> tuple[FeatureMap, list[str]]:
        """The features, and warnings about features that predict the duration too well.

        Raises FeatureError if a feature uses a field that it does not declare.
        """
        return self._learned.result()

    def _learn(self) -> tuple[FeatureMap, list[str]]:
        features = self._fitting.finish()
        sample = self._sample
        if sample is None:
            raise DatasetError(f"{self._first.name} has no trip to learn from\nLeave the month out.")
        check_declarations(features, sample)
        made = features.transform(sample)
        numeric = [column.name for column in features.feature_set.columns if not column.categorical]
        answer = sample["duration"].to_numpy()
        return features, leak_warnings({name: made[name].to_numpy() for name in numeric}, answer)


class _Reading:
    """The progress of months that are read in parallel."""

    def __init__(self, progress: Progress, months: Iterable[Month], total: int) -> None:
        self._progress, self._total, self._turn = progress, total, threading.Lock()
        self._read = dict.fromkeys(months, 0)

    def told(self, month: Month, read: int) -> None:
        """Rows of `month` that were read so far. Called from several threads."""
        with self._turn:
            self._read[month] = read
            self._progress(sum(self._read.values()), self._total)
