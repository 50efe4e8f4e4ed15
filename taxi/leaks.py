"""Leaks: columns made of what they say they do not use, and columns that know the answer too well."""

from collections.abc import Sequence
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
    bins = {name: _bins(columns[name], values) for name, values in filled.items()}
    planes = _Planes(np.column_stack([*filled.values(), y]))
    places = {name: place for place, name in enumerate(columns)}
    told, warnings = set(), []
    for names in [*((name,) for name in columns), *combinations(columns, 2)]:
        if told.intersection(names):
            continue
        share = max(_by_cells([bins[name] for name in names], y), planes.explained([places[name] for name in names]))
        if share >= EXPLAINED:
            told.update(names)
            verb = "explains" if len(names) == 1 else "explain"
            warnings.append(f"{' and '.join(names)} alone {verb} {share:.0%} of the durations: known before the trip?")
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


def _by_cells(bins: Sequence[np.ndarray], y: np.ndarray) -> float:
    """R2 on every second row of the means of cells of the others."""
    cell, size = bins[0], CELLS + 1
    if len(bins) == 2:
        coarse, a_row = CELLS // CELLS_OF_TWO, CELLS_OF_TWO + 1
        cell, size = bins[0] // coarse * a_row + bins[1] // coarse, a_row**2
    count = np.bincount(cell[::2], minlength=size)
    mean = np.bincount(cell[::2], y[::2], size) / np.maximum(count, 1)
    predicted = np.where(count > 0, mean, y[::2].mean())[cell[1::2]]
    return _r2(y[1::2], predicted)


class _Planes:
    """R2 on every second row of lines and planes fitted to the others, from their second moments alone."""

    def __init__(self, table: np.ndarray) -> None:
        table = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-12)
        self._fitted, self._judged = (np.cov(table[half::2], rowvar=False) for half in (0, 1))

    def explained(self, columns: list[int]) -> float:
        own = np.ix_(columns, columns)
        slopes = np.linalg.lstsq(self._fitted[own], self._fitted[columns, -1], rcond=1e-12)[0]
        left = self._judged[-1, -1] - 2 * slopes @ self._judged[columns, -1] + slopes @ self._judged[own] @ slopes
        return 1.0 - float(left / self._judged[-1, -1]) if self._judged[-1, -1] > 0 else 0.0


def _r2(y: np.ndarray, predicted: np.ndarray) -> float:
    spread = np.sum((y - y.mean()) ** 2) if len(y) else 0.0
    return 1.0 - float(np.sum((y - predicted) ** 2) / spread) if spread > 0 else 0.0
