"""Raw months: what this project reads that no step of it made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from provenance.pipeline.declaration import Parameters

MONTH = re.compile(r"\d{4}-\d{2}")


class Fetching(TypedDict):
    """How months are fetched: the mirror of TLC's, None for its own site, and whether progress is shown."""

    base_url: str | None
    progress: bool


def fetching() -> Fetching:
    """How months are fetched: from which mirror of TLC's, and whether progress is shown."""
    return {"base_url": os.environ.get("TLC_BASE_URL"), "progress": True}


class RawMonths:
    """Trip months of one taxi, by their names."""

    noun = "raw month"
    location = "source"
    remedy = "-P source=FOLDER (or sample, tlc, a URI prefix)"
    selected_by: tuple[str, ...] = ("taxi", "train_months", "val_months", "test_months")
    folder = "months"

    def roles(self, params: Parameters) -> tuple[str, ...]:
        """The months of all splits, sorted. Raises MonthsError."""
        from taxi.months.splits import months

        return tuple(sorted(month for split in months(params).values() for month in split))

    def digests(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, str]:
        """Month -> SHA-256 of its bytes, or of the sample's recipe. Raises DataSourceError."""
        from taxi.sources.locate import known_digests

        taxi, months = _checked(params, roles)
        return known_digests(location, taxi, months, **fetching())

    def files(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, Path]:
        """Month -> its file. Raises DataSourceError."""
        from taxi.sources.locate import locate

        taxi, months = _checked(params, roles)
        return {month.name: month.path for month in locate(location, taxi, months, **fetching())}

    def file_name(self, params: Parameters, role: str) -> str:
        """TLC's name of the month's file."""
        from taxi.months.month import file_name

        return file_name(str(params["taxi"]), role)

    def made_by_code(self, location: str) -> bool:
        """Whether `location` is the embedded sample."""
        from taxi.sources.locate import sample_rows

        return sample_rows(location) is not None

    def same_for_everybody(self, location: str) -> bool:
        """The sample and TLC's own site."""
        return location.split(":")[0] in ("sample", "tlc")


def _checked(params: Parameters, roles: Iterable[str]) -> tuple[str, list[str]]:
    """Which taxi's months, and which. Raises DataSourceError for what only an altered record can say."""
    from taxi.months.month import TAXIS
    from taxi.sources.locate import DataSourceError

    taxi, months = str(params.get("taxi")), sorted(roles)
    if taxi not in TAXIS or not all(map(MONTH.fullmatch, months)):
        raise DataSourceError(f"there are no {taxi!a:.40} trips of {', '.join(months)!a:.100}")
    return taxi, months
