"""A split as XGBoost sees it: each feature as the number of its bin, a byte; made part by part, so of any size.

The bins, and so the models, are the same however the rows are cut into parts and wherever the bins are kept; tests
hold it to that.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taxi.dataset.split import Split
from taxi.dataset.stored_split import AnySplit
from taxi.models import one_hot
from taxi.models.family import check_deadline

if TYPE_CHECKING:
    import xgboost as xgb

# What a missing number is to the trees: below all others. With gaps XGBoost takes four bytes a value instead of one,
# and half as long again to fit.
MISSING = -1000.0
PLAIN_ROWS = 2**17  # trips to validate on up to which they stay plain numbers: a tenth of a fit, for 150 bytes a trip
EXTERNAL_ROWS = 2**22  # trips from which on the bins stay on the disk: as fast, and a third less memory for the fit

# Bytes of a process that fits, measured: Python and its libraries, then a trip, with bins in memory or on the disk.
PROCESS_BYTES, MEMORY_BYTES, EXTERNAL_BYTES = 300_000_000, 90, 60


def bytes_needed(rows: int) -> int:
    """Memory of a process that fits on `rows` trips, at most."""
    return PROCESS_BYTES + rows * (EXTERNAL_BYTES if rows > EXTERNAL_ROWS else MEMORY_BYTES)


def filled(X: np.ndarray, types: Sequence[str], missing: float = MISSING) -> np.ndarray:
    """X of shape (n, k) with `missing` for NaN; a code stays NaN, which is what XGBoost takes for no category."""
    gaps = np.isnan(X) & [kind != "c" for kind in types]
    return np.where(gaps, np.float32(missing), X) if gaps.any() else X


def quantile_matrices(
    train: AnySplit, val: AnySplit | None, max_bin: int, threads: int, deadline: float | None
) -> "tuple[xgb.DMatrix, xgb.DMatrix | None]":
    """Matrices of `train` and of `val` in the bins of `train`, made once for both and used by every trial.

    A small `val` is not binned: the answers are the same, and trees answer plain numbers sooner.
    """
    memo = train.memo.get("binned")
    if memo is not None and memo[0] == max_bin and (val is None or memo[1] is val):
        return memo[2], memo[3]
    import xgboost as xgb

    external = len(train) + (0 if val is None else len(val)) > EXTERNAL_ROWS
    # XGBoost adds an address of this process, and removes the file with the matrix.
    place = Path(getattr(train, "scratch", None) or tempfile.gettempdir(), f"bins-{os.getpid()}")

    def matrix(split: AnySplit, ref: xgb.DMatrix | None = None) -> xgb.DMatrix:
        options: dict[str, Any] = {"max_bin": max_bin, "nthread": threads, "ref": ref, "enable_categorical": True}
        if external:
            return xgb.ExtMemQuantileDMatrix(_rows(split, deadline, cache_prefix=str(place), on_host=False), **options)
        return xgb.QuantileDMatrix(_rows(split, deadline), **options)

    train_matrix = matrix(train)
    val_matrix = None
    if val is not None:
        val_matrix = _plain(val, threads) if len(val) <= PLAIN_ROWS else matrix(val, train_matrix)
    train.memo["binned"] = (max_bin, val, train_matrix, val_matrix)
    return train_matrix, val_matrix


def _plain(split: AnySplit, threads: int) -> "xgb.DMatrix":
    import xgboost as xgb

    parts = [_data(part) for part in split.parts()]
    X, y = (np.concatenate([part[name] for part in parts]) for name in ("data", "label"))
    return xgb.DMatrix(X, y, feature_types=parts[0]["feature_types"], enable_categorical=True, nthread=threads)


def _rows(split: AnySplit, deadline: float | None, **options: Any) -> "xgb.DataIter":
    """The split's parts as XGBoost asks for them, three or four times over. TrialTimeout passes through it.

    `options` are xgboost.DataIter's own.
    """
    import xgboost as xgb

    class Rows(xgb.DataIter):
        def reset(self) -> None:
            self._parts = split.parts()

        def next(self, input_data: Callable[..., None]) -> bool:
            check_deadline(deadline)
            part = next(self._parts, None)
            if part is None:
                return False
            input_data(**_data(part))
            return True

    return Rows(**options)


def _data(part: Split) -> dict[str, Any]:
    """A part of a split as XGBoost takes it, missing numbers filled: its data, labels and types of features."""
    X, columns, categorical = part.X, part.columns, part.categorical
    if not isinstance(X, np.ndarray):
        X, (columns, categorical, _, _) = one_hot.compact(X, columns), one_hot.groups(columns)
    types = ["c" if name in categorical else "float" for name in columns]
    return {"data": filled(X, types), "label": part.y, "feature_types": types}
