"""Boosting on splits of any size: the same model however the rows come and wherever their bins are kept."""

import hashlib

import numpy as np
import pytest
import xgboost as xgb

from taxi.dataset.dataset import Dataset, build
from taxi.dataset.split import Split
from taxi.evaluation.metrics import measured, metrics
from taxi.features.fitting import FEATURE_SETS
from taxi.models import quantile_bins
from taxi.models.families import FAMILIES
from taxi.models.family import TrialTimeout
from taxi.sources.locate import locate

BOOSTING = FAMILIES["xgboost"]
PARAMS = BOOSTING.parse({"n_estimators": 12, "max_depth": 6, "subsample": 0.7})


@pytest.fixture(scope="module", params=["full", "course"])
def dataset(request, tmp_path_factory):
    """Twenty thousand trips to train on, in two months, and ten thousand to validate."""
    folder = tmp_path_factory.mktemp("binned")
    months = locate("sample:10000", "green", ["2023-01", "2023-02", "2023-03"], scratch=folder)
    build({"train": months[:2], "val": months[2:]}, FEATURE_SETS[request.param], folder / "dataset")
    return Dataset.open(folder / "dataset")


class Cut(Split):
    """A split whose parts are of another size."""

    def parts(self, rows: int = 0):
        return super().parts(1237)


def model_digest(train, val) -> str:
    estimator = BOOSTING.fit(train, val, PARAMS, seed=42)
    return hashlib.sha256(estimator.booster.save_raw("ubj")).hexdigest()


def test_the_model_is_the_same_however_the_rows_come(dataset, monkeypatch):
    """In memory, cut elsewhere, from the disk part by part, and with the bins themselves on the disk."""
    train, val = dataset.load("train"), dataset.load("val")
    expected = model_digest(train, val)
    cut = [Cut(split.X, split.y, split.columns, split.categorical) for split in (train, val)]
    stored = dataset.split("train"), dataset.split("val")
    assert [model_digest(*cut), model_digest(*stored)] == [expected] * 2
    assert "_whole" not in vars(stored[0])
    monkeypatch.setattr(quantile_bins, "EXTERNAL_ROWS", 1000)
    assert model_digest(dataset.split("train"), dataset.split("val")) == expected
    monkeypatch.setattr(quantile_bins, "PLAIN_ROWS", 0)
    assert model_digest(dataset.split("train"), dataset.split("val")) == expected


def test_a_small_validation_split_is_answered_the_same_without_bins(monkeypatch):
    """Also with missing numbers, and codes that training lacks: else the size of a split would choose the model."""
    rng = np.random.default_rng(7)

    def split(rows: int, codes: int) -> Split:
        X = np.column_stack([rng.normal(size=rows), rng.integers(0, codes, rows)]).astype(np.float32)
        X[rng.random(X.shape) < 0.1] = np.nan
        y = np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 1] % 5) + rng.normal(size=rows)
        return Split(X, y, ("miles", "zone"), frozenset({"zone"}))

    train, val = split(4000, 20), split(2000, 40)
    plain = BOOSTING.fit(train, val, PARAMS, seed=42)
    assert not isinstance(train.memo["binned"][3], xgb.QuantileDMatrix)
    train.memo.clear()
    monkeypatch.setattr(quantile_bins, "PLAIN_ROWS", 0)
    binned = BOOSTING.fit(train, val, PARAMS, seed=42)
    assert isinstance(train.memo["binned"][3], xgb.QuantileDMatrix)
    assert plain.booster.save_raw("ubj") == binned.booster.save_raw("ubj")
    assert plain.curves == binned.curves


def test_bins_on_the_disk_lie_in_the_scratch_folder_given(dataset, monkeypatch, tmp_path):
    """And leave with what was made of the split; the folder belongs to the search, as its workers are killed."""
    monkeypatch.setattr(quantile_bins, "EXTERNAL_ROWS", 1000)
    train = dataset.split("train", scratch=tmp_path)
    BOOSTING.fit(train, dataset.split("val"), PARAMS, seed=42)
    assert len(list(tmp_path.glob("bins-*"))) > 0
    train.memo.clear()
    assert list(tmp_path.iterdir()) == []


def test_missing_numbers_are_below_all_others_and_missing_codes_stay():
    """-1000 miles; a category that is none stays one."""
    X = np.array([[np.nan, np.nan], [2.0, 3.0]], np.float32)
    np.testing.assert_array_equal(quantile_bins.filled(X, ["float", "c"]), [[-1000, np.nan], [2, 3]])
    assert np.isnan(X[0, 0])


def test_a_deadline_ends_the_binning_too(dataset):
    """Of a large split it alone takes minutes."""
    with pytest.raises(TrialTimeout):
        BOOSTING.fit(dataset.split("train"), dataset.split("val"), PARAMS, seed=42, deadline=0.0)


def test_a_split_is_scored_in_parts_as_in_one_piece(dataset):
    """To the last bit."""
    train, val = dataset.load("train"), dataset.load("val")
    estimator = BOOSTING.fit(train, val, PARAMS, seed=42)
    whole = metrics(val.y, estimator.predict(val.X), "val")
    assert metrics(*measured(estimator, Cut(val.X, val.y, val.columns, val.categorical)), "val") == whole
    assert metrics(*measured(estimator, dataset.split("val")), "val") == whole
