"""Errors in minutes, worked out by hand."""

import numpy as np
import pytest

from taxi.evaluation.metrics import metrics


def test_errors_of_three_trips():
    """Errors 0, 3 and -6: RMSE sqrt(45/3), MAE 3; the durations vary by 2 * 100 around 20, so R2 is 1 - 45/200."""
    found = metrics(np.array([10.0, 20.0, 30.0]), np.array([10.0, 23.0, 24.0]), "val")
    assert found == {"val_rmse": 15**0.5, "val_mae": 3.0, "val_r2": pytest.approx(0.775)}


@pytest.mark.parametrize(("predicted", "r2"), [([5.0, 5.0], 1.0), ([5.0, 6.0], 0.0)])
def test_r2_where_all_trips_take_the_same_time(predicted, r2):
    """Nothing to explain: 1 for no error at all, else 0, and never a division by zero."""
    assert metrics(np.array([5.0, 5.0]), np.array(predicted), "test")["test_r2"] == r2


@pytest.mark.parametrize(("y", "predicted"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_unequal_or_empty_arrays_are_refused(y, predicted):
    """Broadcasting one prediction over all trips would look like a score."""
    with pytest.raises(ValueError, match="two equal, non-empty arrays"):
        metrics(np.array(y), np.array(predicted), "val")
