"""The last fit, on train and val: what it is fitted on, what stays, and that it can be repeated."""

import numpy as np
import pyarrow.compute as pc
import pytest

from taxi.dataset.dataset import Dataset, build
from taxi.features.fitting import FEATURE_SETS
from taxi.models.families import FAMILIES
from taxi.models.intervals import Intervals
from taxi.models.predictor import Predictor
from taxi.models.refit import refitted
from taxi.sources.locate import locate


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """A small sample of two months."""
    folder = tmp_path_factory.mktemp("refit")
    months = locate("sample:2000", "green", ["2023-01", "2023-02"], scratch=folder)
    build({"train": months[:1], "val": months[1:]}, FEATURE_SETS["full"], folder / "dataset")
    return Dataset.open(folder / "dataset")


def chosen(dataset: Dataset, family: str) -> Predictor:
    train, val = dataset.load("train"), dataset.load("val")
    params = FAMILIES[family].parse({"n_estimators": 300} if family == "xgboost" else {})
    estimator = FAMILIES[family].fit(train, val, params, 42)
    return Predictor("green", dataset.features, estimator, Intervals.learn(val.y, estimator.predict(val.X)))


@pytest.mark.parametrize("family", ["linear", "xgboost"])
def test_it_is_the_fit_on_both_splits_with_the_parameters_that_were_found(dataset, family, tmp_path):
    """Boosting rounds too: nothing is stopped on validation trips that are now being learned."""
    first = chosen(dataset, family)
    second = refitted(first, dataset, 42)
    newer = dataset.refitted("train", "val")
    expected = FAMILIES[family].fit(newer.load("train", "val"), None, first.estimator.params, 42)
    X = newer.load("val").X
    assert second.estimator.predict(X).tobytes() == expected.predict(X).tobytes()
    assert second.estimator.params == first.estimator.params
    assert second.intervals == first.intervals
    assert not np.array_equal(second.estimator.predict(X), first.estimator.predict(X))
    for name in ("a", "b"):
        refitted(first, dataset, 42).save(tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 6
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_features_are_fitted_on_both_splits(dataset):
    """The zone map of January and February is another than January's; the trips are the same."""
    newer = dataset.refitted("train", "val")
    assert not np.array_equal(newer.features.learned, dataset.features.learned, equal_nan=True)
    assert np.array_equal(dataset.refitted("train").features.learned, dataset.features.learned, equal_nan=True)
    assert newer.load("val").y.tobytes() == dataset.load("val").y.tobytes()


def test_two_splits_load_one_after_the_other(dataset):
    """The rows of train, then those of val."""
    both = dataset.load("train", "val")
    assert len(both) == len(dataset.load("train")) + len(dataset.load("val"))
    assert both.X[: len(dataset.load("train"))].tobytes() == dataset.load("train").X.tobytes()
    minutes = [pc.sum(batch["duration"]).as_py() for split in ("train", "val") for batch in dataset.batches(split)]
    assert both.y.sum() == pytest.approx(sum(minutes))
