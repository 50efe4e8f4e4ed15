"""The artifact between steps: trips of three splits as Parquet, the fitted features, and a manifest of it all.

Layout: ``train/2023-01.parquet``, ``val/...``, ``test/...``, ``features/``, and ``manifest.json``, written last. What
is in it depends on the months' contents alone: no paths, no times; the same months give the same bytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.files import sha256_file
from taxi.dataset.builder import DatasetError, build
from taxi.dataset.manifest import MANIFEST, SCHEMA_VERSION, Manifest
from taxi.dataset.split import PART_ROWS, Split
from taxi.dataset.stored_split import WHOLE, StoredSplit
from taxi.features.fitting import FEATURE_SETS, FeatureError, FeatureMap, Fitting

__all__ = ["Dataset", "DatasetError", "Manifest", "build", "searched_splits"]

MANIFEST_BYTES = 20_000_000  # at the very most; a real one has some kilobytes
RAW = ("PULocationID", "DOLocationID", "trip_distance", "pickup_datetime")


@dataclass(frozen=True)
class Dataset:
    """A whole dataset on this machine, every file of which had its recorded digest when it was opened."""

    folder: Path
    manifest: Manifest
    own: FeatureMap | None = None  # features to use instead of those in the folder

    @classmethod
    def open(cls, folder: Path | str) -> "Dataset":
        """Raises DatasetError for anything else."""
        folder = Path(folder)
        manifest, files = _read_manifest(folder)
        for name, expected in files.items():
            path = folder / name
            try:
                if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
                    raise DatasetError(f"{folder}: {name[:100]} is missing\nRun preprocess again.")
                digest = sha256_file(path)
            except (OSError, RuntimeError) as error:  # not ours to read, or a link to itself
                raise DatasetError(f"{folder}: {name[:100]} cannot be read ({error})\nRun preprocess again.") from None
            if digest != expected:
                raise DatasetError(f"{folder}: {name[:100]} was altered after it was made\nRun preprocess again.")
        _check_rows(folder, manifest)
        return cls(folder, manifest)

    @cached_property
    def features(self) -> FeatureMap:
        """As they were fitted on the training months, or `own`. Raises DatasetError."""
        if self.own:
            return self.own
        try:
            return FeatureMap.load(self.folder / "features")
        except FeatureError as error:
            raise DatasetError(str(error)) from error

    def refitted(self, *splits: str) -> "Dataset":
        """The same trips, their features fitted on those of `splits` in one pass, in memory that does not grow."""
        fitting = Fitting(self.features.feature_set)
        for split in splits:
            for batch in self.batches(split):
                fitting.add(batch)
        return replace(self, own=fitting.finish())

    def split(self, *names: str, scratch: Path | None = None, share: tuple[int, int] = WHOLE) -> StoredSplit:
        """Splits, one after the other, as they lie on the disk: nothing is read before it is asked for.

        Raises DatasetError.
        """
        for name in names:
            self._check(name)
        return StoredSplit(self, names, scratch, share)

    def load(self, *splits: str) -> Split:
        """Splits in memory, in the order of their files: 4 bytes a feature and trip, 8 for its minutes."""
        rows = sum(self.manifest.rows(split) for split in splits if split in self.manifest.splits)
        features, k = self.features, len(self.features.labels)
        X, y, sparse_parts, done = None, np.empty(rows), [], 0
        for part in chain.from_iterable(map(self.parts, splits)):
            y[done : done + len(part)] = part.y
            if isinstance(part.X, np.ndarray):
                X = np.empty((rows, k), part.X.dtype) if X is None else X
                X[done : done + len(part)] = part.X
            else:
                sparse_parts.append(part.X)
            done += len(part)
        if sparse_parts:
            from scipy import sparse

            X = sparse.vstack(sparse_parts, format="csr")
        return Split(X, y, features.labels, features.categorical)

    def parts(self, split: str, rows: int = PART_ROWS, share: tuple[int, int] = WHOLE) -> Iterator[Split]:
        """The same rows as `load`, at most `rows` at a time: for splits larger than memory.

        `share`, (k, n): of what is read at a time the k-th of n equal parts; together the n shares have every row once.
        """
        features, (k, n) = self.features, share
        for whole in self.batches(split, rows * min(n, 8)):
            start = len(whole) * k // n
            batch = whole.slice(start, len(whole) * (k + 1) // n - start)
            columns = features.transform(batch)
            made = {name: columns[name].to_numpy() for name in columns.schema.names}
            yield Split(features.matrix(made), batch["duration"].to_numpy(), features.labels, features.categorical)

    def trips(self, split: str) -> Any:
        """The split's trips as a pandas DataFrame of the columns `RAW`, in the order of `load`."""
        tables = [pa.Table.from_batches([batch]).select(RAW) for batch in self.batches(split)]
        return pa.concat_tables(tables).to_pandas()

    def batches(self, split: str, rows: int = PART_ROWS) -> Iterator[pa.RecordBatch]:
        """The split's valid trips in the order of its files. Raises DatasetError if there is no such split."""
        self._check(split)
        for name in self.manifest.files(split):
            try:
                # One thread: trials run side by side, and the rest of the machine is theirs.
                with pq.ParquetFile(self.folder / name) as file:
                    yield from file.iter_batches(rows, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(f"{self.folder}: {name} cannot be read ({error})\nRun preprocess again.") from error

    def _check(self, split: str) -> None:
        if split not in self.manifest.splits:
            raise DatasetError(f"{self.folder} has no {split} split\nGive {split}_months to preprocess.")


def _read_manifest(folder: Path) -> tuple[Manifest, dict[str, str]]:
    """The manifest, and the SHA-256 of each file that there must be."""
    try:
        if not (folder / MANIFEST).is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError(folder / MANIFEST)
        if (size := (folder / MANIFEST).stat().st_size) > MANIFEST_BYTES:
            raise ValueError(f"{size:,} bytes")
        record = json.loads((folder / MANIFEST).read_bytes())
        version, manifest = record["schema"], Manifest(record)
        if version == SCHEMA_VERSION:
            files = {str(name): str(entry["sha256"]) for name, entry in record["files"].items()}
            _check_manifest(manifest, files)
            return manifest, files
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{folder} is not a dataset: {MANIFEST} cannot be read ({type(error).__name__})\n"
            "Give what preprocess leaves behind: runs:/<run id>/dataset"
        ) from error
    raise DatasetError(
        f"{folder} is a dataset of another version of this project ({version!r:.20}, not {SCHEMA_VERSION})\n"
        "Run preprocess again."
    )


def _check_manifest(manifest: Manifest, files: Mapping[str, str]) -> None:
    """Raise ValueError, or as access to a record does, where one lacks what others read of it, or has it otherwise."""
    for split in manifest.splits:
        if missing := [name for name in manifest.files(split) if name not in files]:
            raise ValueError(f"no digest of {missing[0]}")
        if not all(type(rows) is int for rows in manifest.month_rows(split)):
            raise ValueError(f"no numbers of trips of {split}")
    if manifest.feature_set not in FEATURE_SETS:
        raise ValueError(f"no feature set {manifest.feature_set}")
    if not all(isinstance(text, str) for text in (manifest.taxi, *manifest.warnings)):
        raise ValueError("no text for its taxi, or for a warning")


def _check_rows(folder: Path, manifest: Manifest) -> None:
    """Check the recorded number of trips. A forged number would reserve memory for trips that do not exist."""
    for split in manifest.splits:
        try:
            there = [pq.read_metadata(folder / name).num_rows for name in manifest.files(split)]
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{folder}: {split} cannot be read ({error})\nRun preprocess again.") from error
        if not there or there != manifest.month_rows(split):
            raise DatasetError(f"{folder}: {split} does not hold the trips that {MANIFEST} says\nRun preprocess again.")


def searched_splits(folder: Path, scratch: Path | None = None) -> tuple[StoredSplit, StoredSplit]:
    """Train and val of a dataset, for a worker that sees its folder."""
    dataset = Dataset.open(folder)
    return dataset.split("train", scratch=scratch), dataset.split("val", scratch=scratch)
