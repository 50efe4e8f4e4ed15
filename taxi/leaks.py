"""Leaks: columns made of what they say they do not use, and columns that know the answer too well."""

from itertools import combinations

import numpy as np
import pyarrow as pa

from taxi.feature_map import FeatureMap
from taxi.feature_set import KNOWN, FeatureError
from taxi.trips import VALID_SCHEMA

EXPLAINED = 0.95  # share of the durations' variance; the best honest model of a trip reaches 0.83
CELLS = 64  # bins of a column, by its quantiles: fine enough for the long tail of the durations
CELLS_OF_TWO = 16  # bins of each of two columns: coarse enough for thousands of rows to fill 16 x 16 cells
CHECKED_ROWS = 4_096
FEWEST_ROWS = 200  # with fewer, a column that knows the answer looks like one that fits by luck


def check_declarations(features: FeatureMap, trips: pa.RecordBatch) -> None:
    """Raise FeatureError when a column changes with a field of the trip that it does not say it uses.

    Each field of `trips`, valid ones, is turned round in its column and the features are made again.
    """
    made = features.transform(trips)
    for field in VALID_SCHEMA.names:
        backwards = trips[field].take(np.arange(trips.num_rows - 1, -1, -1))
        turned = features.transform(trips.set_column(VALID_SCHEMA.names.index(field), field, backwards))
        for column in features.feature_set.columns:
            before, after = (batch[column.name].to_numpy() for batch in (made, turned))
            if field not in column.uses and not np.array_equal(before, after, equal_nan=True):
                when = f"known at {KNOWN[field]}" if field in KNOWN else "the answer itself"
                raise FeatureError(
                    f"feature {column.name} changes with {field}, {when}, but does not declare it\n"
                    f"Declare that it uses {field}, or compute it without."
                )


def leak_warnings(columns: dict[str, np.ndarray], y: np.ndarray) -> list[str]:
    """A line for each column, or two together, that explain almost all of `y` on rows they were not fitted to.

    Numeric columns of shape (n,), minutes `y` of shape (n,). Codes with many values explain nothing here, rightly:
    they are judged on other rows.
    """
    if len(y) < FEWEST_ROWS:
        return []
    filled = {name: _filled(values) for name, values in columns.items()}
    bins = np.array([_bins(columns[name], values) for name, values in filled.items()])
    coarse, a_row = bins // (CELLS // CELLS_OF_TWO), CELLS_OF_TWO + 1
    single = [(column, column) for column in range(len(columns))]
    pairs = list(combinations(range(len(columns)), 2))
    by_cells = [_by_cells(cell, CELLS + 1, y) for cell in bins]
    by_cells += [_by_cells(coarse[first] * a_row + coarse[second], a_row**2, y) for first, second in pairs]
    shares = np.maximum(by_cells, _by_planes(np.column_stack([*filled.values(), y]), np.array(single + pairs)))
    told, warnings, names = set(), [], list(columns)
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
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    return np.where(known, values, values[known].mean() if known.any() else 0.0)


def _bins(values: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Bins 0..CELLS-1 of the column by its quantiles, CELLS for missing."""
    edges = np.unique(np.quantile(filled, np.arange(1, CELLS) / CELLS))
    return np.where(np.isnan(values), CELLS, np.searchsorted(edges, filled, side="right"))


def _by_cells(cell: np.ndarray, size: int, y: np.ndarray) -> float:
    """R2 on every second row of the means of cells of the others; `cell` holds ids below `size`."""
    fitted, judged = y[::2], y[1::2]
    count = np.bincount(cell[::2], minlength=size)
    mean = np.bincount(cell[::2], fitted, size) / np.maximum(count, 1)
    left = judged - np.where(count > 0, mean, fitted.mean())[cell[1::2]]
    spread = np.sum((judged - judged.mean()) ** 2)
    return 1.0 - float(np.sum(left**2) / spread) if spread > 0 else 0.0


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
