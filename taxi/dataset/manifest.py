"""The manifest of a dataset: manifest.json. It describes contents only, without absolute paths and times."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.files import replace_file

SCHEMA_VERSION = 2  # raise it when an older dataset could not be read as it was meant
SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """`record` is manifest.json; see `taxi.dataset.builder` for what is in it."""

    record: Mapping[str, Any]

    @property
    def taxi(self) -> str:
        """``green`` or ``yellow``."""
        return self.record["taxi"]

    @property
    def feature_set(self) -> str:
        """Name of the feature set, such as ``full``."""
        return self.record["feature_set"]

    @property
    def warnings(self) -> list[str]:
        """What a person should look at before trusting a model of this data, a line each."""
        return list(self.record["warnings"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that the dataset has, in the order of `SPLITS`."""
        return tuple(split for split in SPLITS if split in self.record["splits"])

    def months(self, split: str) -> list[str]:
        """Months of the split, ``YYYY-MM``."""
        return list(self.record["splits"][split])

    def month_span(self, split: str) -> str:
        """``2023-01`` or ``2022-01 .. 2022-12 (12 months)``."""
        months = self.months(split)
        return months[0] if len(months) == 1 else f"{months[0]} .. {months[-1]} ({len(months)} months)"

    def rows(self, split: str) -> int:
        """Trips of the split."""
        return sum(self.month_rows(split))

    def month_rows(self, split: str) -> list[int]:
        """Trips of each month of the split."""
        return [self.record["months"][month]["kept"] for month in self.months(split)]

    def files(self, split: str) -> list[str]:
        """Paths of the split's months in the dataset's folder."""
        return [f"{split}/{month}.parquet" for month in self.months(split)]

    def split_digest(self, split: str) -> str:
        """SHA-256 over the digests of the split's files, hex."""
        digests = "".join(self.record["files"][name]["sha256"] for name in self.files(split))
        return hashlib.sha256(digests.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write it, complete or not at all."""
        path = folder / MANIFEST
        path.with_suffix(".part").write_text(json.dumps(self.record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        replace_file(path.with_suffix(".part"), path)
