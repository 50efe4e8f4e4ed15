"""Splits that stay on the disk: as `Split`, but read when it is asked for, in parts by those who can take parts."""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from taxi.dataset.split import PART_ROWS, Matrix, Split

if TYPE_CHECKING:
    from taxi.dataset.dataset import Dataset

WHOLE = (0, 1)  # the share that is all: the first of one


class StoredSplit:
    """Splits `names` of `dataset`, one after the other. `parts` takes the memory of one; X or y loads all, once.

    `scratch` is a folder for what a family writes beside it; None is the system's temporary one. Of a `share`, (k, n),
    `parts` has the k-th of n, and the length is that of the n on average: one number for all of them.
    """

    def __init__(
        self, dataset: "Dataset", names: tuple[str, ...], scratch: Path | None = None, share: tuple[int, int] = WHOLE
    ) -> None:
        self._dataset, self._names, self.scratch, self._share = dataset, names, scratch, share
        self.columns, self.categorical = dataset.features.labels, dataset.features.categorical
        self.memo: dict[str, Any] = {}  # as Split.memo

    def __len__(self) -> int:
        return sum(map(self._dataset.manifest.rows, self._names)) // self._share[1]

    def parts(self, rows: int = PART_ROWS) -> Iterator[Split]:
        return chain.from_iterable(self._dataset.parts(name, rows, self._share) for name in self._names)

    @cached_property
    def _whole(self) -> Split:
        return self._dataset.load(*self._names)

    @property
    def X(self) -> Matrix:
        """As Split.X, of all rows."""
        return self._whole.X

    @property
    def y(self) -> np.ndarray:
        """Minutes, float64 of shape (n,)."""
        return self._whole.y

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_whole"} | {"memo": {}}


AnySplit: TypeAlias = Split | StoredSplit  # what is fitted to and judged on: in memory or on the disk
