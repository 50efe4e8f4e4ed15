"""The months of each split: training, validation (to choose a model) and test (to judge it)."""

from __future__ import annotations

from collections.abc import Mapping

from taxi.months.month import parse_months

SPLITS = ("train", "val", "test")


class MonthsError(ValueError):
    """Months that cannot be split as asked."""


def months(params: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Split name -> its months. Raises MonthsError when a month is in two splits."""
    split_months = {split: parse_months(str(params[f"{split}_months"])) for split in SPLITS}
    seen: dict[str, str] = {}
    for split, wanted in split_months.items():
        for month in wanted:
            if month in seen:
                raise MonthsError(
                    f"{month} is both a {seen[month]} and a {split} month: a model would be judged on what it saw\n"
                    f" Choose other {seen[month]}_months or {split}_months."
                )
            seen[month] = split
    return {split: wanted for split, wanted in split_months.items() if wanted}
