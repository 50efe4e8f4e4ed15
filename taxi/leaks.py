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
    halves = [np.ascontiguousarray(half) for half in (y[::2], y[1::2])]
    fine, rough = ([np.ascontiguousarray(cell[:, half::2]) for half in (0, 1)] for cell in (bins, coarse))
    by_cells = [_by_cells(*(half[column] for half in fine), CELLS + 1, *halves) for column in range(len(columns))]
    by_cells += [
        _by_cells(*(half[first] * a_row + half[second] for half in rough), a_row**2, *halves) for first, second in pairs
    ]
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
    edges = np.unique(np.sort(filled)[np.arange(1, CELLS) * len(filled) // CELLS])
    return np.where(np.isnan(values), CELLS, np.searchsorted(edges, filled, side="right"))


def _by_cells(learned: np.ndarray, asked: np.ndarray, size: int, fitted: np.ndarray, judged: np.ndarray) -> float:
    """R2 of the means of cells of `fitted` on `judged`; their rows' cells are `learned` and `asked`, of `size`."""
    count = np.bincount(learned, minlength=size)
    mean = np.bincount(learned, fitted, size) / np.maximum(count, 1)
    mean[count == 0] = fitted.mean()
    left, spread = np.sum((judged - mean[asked]) ** 2), np.sum((judged - judged.mean()) ** 2)
    return 1.0 - float(left / spread) if spread > 0 else 0.0


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
