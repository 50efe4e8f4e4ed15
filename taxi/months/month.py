"""Months: their names, their files, and one as a value. Imports nothing slow: `plan` and parameter checks use it."""

import re
from dataclasses import dataclass
from pathlib import Path

TAXIS = ("green", "yellow")
YEARS = (2009, 2099)  # closed; TLC publishes from 2009 on, and a range of months has to end somewhere


@dataclass(frozen=True)
class Month:
    """One raw file: `digest` is its SHA-256 in hex, `origin` the URI or `sample:...` it came from."""

    taxi: str
    name: str  # "2023-01"
    path: Path
    digest: str
    origin: str


def file_name(taxi: str, name: str) -> str:
    """TLC's own name of a month's file."""
    return f"{taxi}_tripdata_{name}.parquet"


def parse_months(text: str) -> tuple[str, ...]:
    """`2023-01`, `2023-01,2023-03`, `2022-01:2022-12` or `none` as sorted, unique month names.

    Raises ValueError with the accepted forms.
    """
    if text.strip() == "none":
        return ()
    numbers: set[int] = set()
    for part in text.split(","):
        ends = [_month_number(end.strip()) for end in part.split(":")]
        first, last = ends[0], ends[-1]
        if first is None or last is None or len(ends) > 2 or first > last:
            raise ValueError(
                f"{shortened(text)} is not a list of months: {shortened(part)} is no month or range within "
                f"{YEARS[0]}..{YEARS[1]}.\nUse 2023-01, a list 2023-01,2023-03, a range 2022-01:2022-12, or none."
            )
        numbers.update(range(first, last + 1))
    return tuple(f"{number // 12:04}-{number % 12 + 1:02}" for number in sorted(numbers))


def _month_number(text: str) -> int | None:
    match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
    if not match or not YEARS[0] <= int(match[1]) <= YEARS[1]:
        return None
    return int(match[1]) * 12 + int(match[2]) - 1


def shortened(text: str, limit: int = 60) -> str:
    """`text` quoted for an error message, cut where it would fill the screen."""
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "..."
