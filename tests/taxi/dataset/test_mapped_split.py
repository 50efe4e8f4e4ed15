"""Splits as files that worker processes share."""

import numpy as np
import pytest
from scipy import sparse

from taxi.dataset.mapped_split import open_splits, save_splits
from taxi.dataset.split import Split

DENSE = Split(np.array([[1, np.nan], [3, 4]], np.float32), np.array([5.0, 6.0]), ("zone", "miles"), frozenset({"zone"}))
ROWS = [[0, 2.5, 0], [1, 0, 3]]


def test_dense_splits_come_back_as_they_were(tmp_path):
    """Values, missing ones, types, names and which columns hold codes, in the order they were given."""
    save_splits(tmp_path, DENSE, Split(DENSE.X[:1], DENSE.y[:1], DENSE.columns))
    train, val = open_splits(tmp_path)
    np.testing.assert_array_equal(train.X, DENSE.X)
    np.testing.assert_array_equal(train.y, DENSE.y)
    assert (train.X.dtype, train.y.dtype) == (np.float32, np.float64)
    assert (train.columns, train.categorical) == (DENSE.columns, DENSE.categorical)
    assert len(val) == 1 and val.categorical == frozenset()


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_splits_come_back_as_they_were(tmp_path, make):
    """The same kind of matrix with the same numbers."""
    save_splits(tmp_path, Split(make(ROWS), np.zeros(2), ("a", "b", "c")))
    [split] = open_splits(tmp_path)
    assert type(split.X) is make and split.X.dtype == make(ROWS).dtype
    np.testing.assert_array_equal(split.X.toarray(), ROWS)


def test_nothing_is_read_into_memory_or_writable(tmp_path):
    """Workers see the bytes on disk, once for all of them, and none can change what another sees."""
    save_splits(tmp_path, DENSE, Split(sparse.csr_matrix(ROWS), DENSE.y, ("a", "b", "c")))
    dense, one_hot = open_splits(tmp_path)
    for array in (dense.X, dense.y, one_hot.X.data, one_hot.X.indices):
        assert not array.flags.writeable
        while not isinstance(array, np.memmap):
            array = array.base
