"""Data for trials."""

import numpy as np

from taxi.dataset.split import Split


def noisy(rows, seed):
    """Minutes that are three a mile and a little noise; one column of codes beside."""
    rng = np.random.default_rng(seed)
    miles, zone = rng.uniform(0, 10, rows), rng.integers(0, 5, rows)
    X = np.column_stack([zone, miles]).astype(np.float32)
    return Split(X, 3 * miles + rng.normal(0, 0.5, rows), ("zone", "miles"), frozenset({"zone"}))


DATA = noisy(400, 0), noisy(200, 1)
