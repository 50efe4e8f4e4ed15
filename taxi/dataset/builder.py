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
    """Write a dataset into the empty `folder`; `progress` is told rows read and rows to read.

    `written(month, path)` puts in place a month that was written elsewhere; of `month` only taxi and name are needed
    then. Memory does not grow with months or rows. Raises SchemaError, FeatureError, or DatasetError for months that
    overlap; what was written by then has no manifest, so is no dataset.
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

    months: dict[str, Any] = {}
    files: dict[Path, dict[str, Any]] = {}
    with nullcontext(written) if written else months_here(paths, feature_set.in_month, seen) as month_written:
        for split, wanted in splits.items():
            for month in wanted:
                part = month_written(month, paths[month])
                if written and split == "train":
                    with pq.ParquetFile(paths[month]) as file:
                        for batch, last in marked(file.iter_batches(ROW_GROUP, use_threads=False)):
                            learning.add(month, batch, last)
                files[paths[month]] = {"sha256": part.sha256, "bytes": part.size}
                read = part.kept + sum(part.dropped.values())
                months[month.name] = {"sha256": part.digest, "read": read, "kept": part.kept, "dropped": part.dropped}
                reading.told(month, read)
            if split == "train":
                features, warnings = learning.result()
    features.save(folder / "features")
    for path in (folder / "features").iterdir():
        files[path] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
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
            "files": {path.relative_to(folder).as_posix(): files[path] for path in sorted(files)},
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


def _raw_rows(month: Month) -> int:
    try:
        return pq.read_metadata(month.path).num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return 0  # reading the month says what is wrong with it


class _Learning:
    """What the training months teach, of batches in any order, a thread at a time.

    It is worked out in a thread of its own once the last of them was added, while months are written.
    """

    def __init__(self, feature_set: FeatureSet, months: Sequence[Month]) -> None:
        self._fitting, self._awaited = Fitting(feature_set), set(months)
        self._first = months[0]
        self._sample: pa.RecordBatch | None = None

    def add(self, month: Month, batch: pa.RecordBatch, last: bool) -> None:
        """`last`: of this month."""
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

    def result(self) -> tuple[FeatureMap, list[str]]:
        """The features, and warnings of those that know the answer; refuses what breaks its declaration."""
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
    """Progress of months that are read side by side."""

    def __init__(self, progress: Progress, months: Iterable[Month], total: int) -> None:
        self._progress, self._total, self._turn = progress, total, threading.Lock()
        self._read = dict.fromkeys(months, 0)

    def told(self, month: Month, read: int) -> None:
        with self._turn:
            self._read[month] = read
            self._progress(sum(self._read.values()), self._total)
