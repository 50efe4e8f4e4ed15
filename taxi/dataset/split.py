"""One split of a dataset: the trips on which models are fitted or judged."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

Matrix: TypeAlias = "np.ndarray | sparse.csr_matrix"  # X of a Split

PART_ROWS = 131_072  # trips at a time: long enough to vectorise, a few MiB of features


@dataclass(frozen=True, eq=False)
class Split:
    """Rows and their durations, in the order of the dataset's files.

    X: float32 array of shape (n, k), NaN = missing, categorical columns as whole codes; for `course` a CSR of float64.
    y: float64 minutes of shape (n,). columns: the k names. categorical: the names among them that hold codes.
    memo: what a family made of X once and uses in every trial; never part of the data, never pickled.
    """

    X: Matrix
    y: np.ndarray
    columns: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.X.shape[0]

    def parts(self, rows: int = PART_ROWS) -> Iterator["Split"]:
        """The same rows, at most `rows` at a time."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield Split(self.X[part], self.y[part], self.columns, self.categorical)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "memo": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
