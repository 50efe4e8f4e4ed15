"""Find leaks: columns that use a field that they do not declare, and columns that predict the duration too well."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa

from taxi.features.feature_map import FeatureMap
from taxi.features.feature_set import KNOWN, FeatureError
from taxi.months.trips import VALID_SCHEMA

EXPLAINED = 0.95  # share of the durations' variance; the best honest model of a trip reaches 0.83
CELLS = 64  # bins of a column, by its quantiles: fine enough for the long tail of the durations
CELLS_OF_TWO = 16  # bins of each of two columns: coarse enough for thousands of rows to fill 16 x 16 cells
CHECKED_ROWS = 4_096  # of the first batch, spread over it
DECLARED_ROWS = 1_024  # of those, as many as a declaration is tried on: one that differs is enough
FEWEST_ROWS = 200  # with fewer, a column that knows the answer looks like one that fits by luck


def spread(batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """`rows` of a batch, evenly spread over it; all if there are no more."""
    return batch.take(np.arange(rows) * (batch.num_rows // rows)) if batch.num_rows > rows else batch


def check_declarations(features: FeatureMap, trips: pa.RecordBatch) -> None:
    """Raise FeatureError when a column changes with a field of the trip that it does not say it uses.

    Each field of `trips`, valid ones, is turned round in its column and the features are made again.
    """
    trips = spread(trips, DECLARED_ROWS)
    made = features.transform(trips)
    for field in VALID_SCHEMA.names:
        backwards = trips[field].take(np.arange(trips.num_rows - 1, -1, -1))
        turned = features.transform(trips.set_column(VALID_SCHEMA.names.index(field), field, backwards))
        for column in features.feature_set.columns:
            if field not in column.uses and _bits(made[column.name]) != _bits(turned[column.name]):
                when = f"known at {KNOWN[field]}" if field in KNOWN else "the answer itself"
                raise FeatureError(
                    f"feature {column.name} changes with {field}, {when}, but does not declare it\n"
                    f"Declare that it uses {field}, or compute it without."
                )


def _bits(column: pa.Array) -> bytes:
    return column.to_numpy().tobytes()


def leak_warnings(columns: dict[str, np.ndarray], y: np.ndarray) -> list[str]:
    """A line for each column, or two together, that explain almost all of `y` on rows they were not fitted to.

    Numeric columns of shape (n,), minutes `y` of shape (n,). Codes with many values explain nothing here, rightly:
    they are judged on other rows.
    """
    if len(y) < FEWEST_ROWS:
        return []
    filled = {name: _filled(values) for name, values in columns.items()}
    bins = np.array([_bins(columns[name], values) for name, values in filled.items()])
    single = [(column, column) for column in range(len(columns))]
    pairs = list(combinations(range(len(columns)), 2))
    shares = np.maximum(
        _by_cells(bins, pairs, y), _by_planes(np.column_stack([*filled.values(), y]), np.array(single + pairs))
    )
    told: set[int] = set()
    warnings, names = [], list(columns)
    for (first, second), share in zip(single + pairs, shares, strict=True):
        if share < EXPLAINED or told.intersection((first, second)):
            continue
        told.update((first, second))
        which = (
            f"{names[first]} alone explains" if first == second else f"{names[first]} and {names[second]} alone explain"
        )
        warnings.append(f"{which} {share:.0%} of the durations: known before the trip?")
    return warnings


def _filled(values: np.ndarray) -> np.ndarray:
    """The column with missing values at its mean."""
    values = np.asarray(values)
    known = ~np.isnan(values)
    return np.where(known, values, values[known].mean() if known.any() else 0)


def _bins(values: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Bins 0..CELLS-1 of the column by its quantiles, CELLS for missing."""
    edges = np.unique(np.sort(filled)[len(filled) * np.arange(1, CELLS) // CELLS])
    return np.where(np.isnan(values), CELLS, np.searchsorted(edges, filled, side="right"))


def _by_cells(bins: np.ndarray, pairs: Sequence[tuple[int, int]], y: np.ndarray) -> list[float]:
    """R2 on every second row of the means of cells of the others.

    `bins` (columns, n): cells are the bins of each column, then the coarser ones of each pair of columns.
    """
    halves = [np.ascontiguousarray(bins[:, half::2]) for half in (0, 1)]
    fitted, judged = y[::2].copy(), y[1::2].copy()
    variation, elsewhere = np.sum((judged - judged.mean()) ** 2), fitted.mean()
    if not variation > 0:
        return [0.0] * (len(bins) + len(pairs))

    def share(cell: np.ndarray, cell_judged: np.ndarray, size: int) -> float:
        count = np.bincount(cell, minlength=size)
        mean = np.where(count > 0, np.bincount(cell, fitted, size) / np.maximum(count, 1), elsewhere)
        left = judged - mean[cell_judged]
        return 1.0 - float(np.sum(left * left) / variation)

    coarse, a_row = [half // (CELLS // CELLS_OF_TWO) for half in halves], CELLS_OF_TWO + 1
    rows = [half * a_row for half in coarse]
    alone = [share(cell, cell_judged, CELLS + 1) for cell, cell_judged in zip(*halves, strict=True)]
    return alone + [
        share(rows[0][first] + coarse[0][second], rows[1][first] + coarse[1][second], a_row**2)
        for first, second in pairs
    ]


def _by_planes(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """R2 on every second row of planes fitted to the others, from their second moments alone.

    The last column of `table` is the answer; a plane for each two `columns` (m, 2), a line where both are the same.
    """
    table = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-12)
    fitted, judged = (np.cov(table[half::2], rowvar=False) for half in (0, 1))
    if not judged[-1, -1] > 0:
        return np.zeros(len(columns))
    own = columns[:, :, None], columns[:, None, :]
    slopes = np.linalg.pinv(fitted[own], rcond=1e-12, hermitian=True) @ fitted[columns, -1][:, :, None]
    across, within = judged[columns, -1][:, None, :] @ slopes, slopes.transpose(0, 2, 1) @ judged[own] @ slopes
    return (2 * across - within)[:, 0, 0] / judged[-1, -1]
