"""Pickup zones for people: their names, and where they lie on a flat map."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

DATA_FILES = ("zones.csv",)  # TLC's taxi zone lookup table
LENGTH = 22  # letters of a name beside a bar


@lru_cache(maxsize=1)
def _names() -> Mapping[int, str]:
    with Path(__file__).with_name(*DATA_FILES).open(encoding="utf-8", newline="") as file:
        return {int(row["zone"]): row["name"] for row in csv.DictReader(file)}


def name(zone: int, made_up: bool) -> str:
    """New York's name of a zone; in the made-up city, whose zones lie elsewhere, its number."""
    found = None if made_up else _names().get(zone)
    if found is None:
        return f"zone {zone}"
    return found if len(found) <= LENGTH else f"{found[: LENGTH - 1].rstrip()}…"


def flat_map(places: np.ndarray) -> np.ndarray:
    """The zone map (zones, dimensions) seen from where most of it is seen: miles of shape (zones, 2), NaN for nowhere.

    Its two axes of largest spread; they have no directions of the compass. The busier half of a sign is the same
    wherever it is computed: the zone farthest out on an axis lies on its positive side.
    """
    somewhere = ~np.isnan(places[:, 0])
    flat = np.full((len(places), 2), np.nan)
    if somewhere.sum() < 2:
        return flat
    known = places[somewhere].astype(np.float64)
    known -= known.mean(axis=0)
    _, axes = np.linalg.eigh(known.T @ known)
    seen = known @ axes[:, :-3:-1]
    farthest = np.argmax(np.abs(seen), axis=0)
    flat[somewhere] = seen * np.where(seen[farthest, [0, 1]] < 0, -1, 1)
    return flat
