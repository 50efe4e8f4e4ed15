"""Splits as plain .npy files that several processes map into memory: one copy for all of them, none per trial."""

import json
from pathlib import Path

import numpy as np
from scipy import sparse

from taxi.dataset.split import Matrix, Split

PARTS = ("data", "indices", "indptr")  # of a CSR matrix


def save_splits(folder: Path, *splits: Split) -> None:
    """Write `splits` into an empty `folder`, for `open_splits`. A scratch copy: no digests, gone after the search."""
    for number, split in enumerate(splits):
        place = Path(folder) / str(number)
        place.mkdir()
        dense = isinstance(split.X, np.ndarray)
        arrays = {"X": split.X} if dense else {part: getattr(split.X, part) for part in PARTS}
        for name, array in (arrays | {"y": split.y}).items():
            np.save(place / f"{name}.npy", array, allow_pickle=False)
        facts = {
            "form": "dense" if dense else "csr",
            "array": isinstance(split.X, sparse.sparray),
            "shape": split.X.shape,
        }
        names = {"columns": split.columns, "categorical": sorted(split.categorical)}
        (place / "split.json").write_text(json.dumps(facts | names))


def open_splits(folder: Path) -> tuple[Split, ...]:
    """The splits in the order they were given, read-only; their bytes stay on disk until they are looked at."""
    places = sorted(Path(folder).iterdir(), key=lambda place: int(place.name))
    return tuple(_open(place) for place in places)


def _open(place: Path) -> Split:
    X: Matrix
    facts = json.loads((place / "split.json").read_text())

    def mapped(name: str) -> np.ndarray:
        return np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    if facts["form"] == "dense":
        X = mapped("X")
    else:
        make = sparse.csr_array if facts["array"] else sparse.csr_matrix
        X = make(tuple(mapped(part) for part in PARTS), shape=tuple(facts["shape"]), copy=False)
        X.has_sorted_indices = X.has_canonical_format = True  # else checked, and sorted in place, for every fit
    return Split(X, mapped("y"), tuple(facts["columns"]), frozenset(facts["categorical"]))
