"""A saved trial scored again: the very scores it had, and none for files that are no model."""

import pytest

from runtime.files import sha256_file
from search.trial import TrialResult
from taxi.city.sample import write_month
from taxi.dataset.builder import build
from taxi.dataset.dataset import Dataset
from taxi.features.fitting import FEATURE_SETS
from taxi.models.objective import Objective, rescored
from taxi.months.month import Month, file_name

SMALL = {
    "linear": {"alpha": 3.0},
    "random_forest": {"n_estimators": 5, "max_depth": 6},
    "xgboost": {"n_estimators": 40, "early_stopping_rounds": 5, "max_depth": 5},
}
# Two validation months: what streams is read in other parts than what is loaded.
MONTHS = {"train": ["2023-01"], "val": ["2023-02", "2023-03"]}


@pytest.fixture(scope="module", params=["full", "course"])
def dataset(request, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    splits = {}
    for split, wanted in MONTHS.items():
        for name in wanted:
            path = folder / file_name("green", name)
            write_month(path, "green", name, 1500, lambda rows: None)
            splits.setdefault(split, []).append(Month("green", name, path, sha256_file(path), "sample"))
    (folder / "made").mkdir()
    build(splits, FEATURE_SETS[request.param], folder / "made")
    return Dataset.open(folder / "made")


def fitted(dataset: Dataset, family: str) -> TrialResult:
    """A trial as an engine runs it: streamed by the family that streams, in memory by the others."""
    objective = Objective(family, dataset.manifest.feature_set, 42)
    how = dataset.split if objective.streams else dataset.load
    return objective((how("train"), how("val")), 0, SMALL[family])


@pytest.mark.parametrize("family", SMALL)
def test_a_saved_trial_has_its_scores_to_the_last_bit(dataset, family):
    """However its split is read: else a search would run sound trials again."""
    result = fitted(dataset, family)
    assert rescored(family, result.files, dataset.split("val")) == (result.metrics, result.best_iteration)


def test_files_that_are_no_model_of_the_family_have_no_scores(dataset):
    """Whatever they hold: the trial is run again, and the search goes on."""
    result, val = fitted(dataset, "linear"), dataset.split("val")
    name = next(name for name in sorted(result.files) if name != "model.json")
    for files in ({}, {"model.json": b"{}"}, {**result.files, "model.json": b"["}, {**result.files, name: b"x"}):
        assert rescored("linear", files, val) is None
    assert rescored("random_forest", result.files, val) is None
