"""An engine by its name, and where its workers get the dataset."""

import pytest

from search.engines import EngineError
from search.engines.cluster import ENGINES
from search.tpe import search
from taxi.dataset.dataset import Dataset, build
from taxi.distributed.trial_engine import open_engine
from taxi.features.fitting import FEATURE_SETS
from taxi.models.families import FAMILIES
from taxi.models.objective import Objective


@pytest.fixture
def dataset(month_of, tiny_trips, tmp_path):
    """Twelve trips of January to train on, and the same twelve to validate."""
    splits = {"train": [month_of(tiny_trips)], "val": [month_of(tiny_trips, "2023-02")]}
    build(splits, FEATURE_SETS["course"], tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def test_the_local_engine_fits_on_the_dataset_given(dataset):
    """The same score as a fit in this process on the splits as they are loaded."""
    objective = Objective("linear", "course", 42)
    with open_engine("local", objective, dataset, "unused", workers=1) as engine:
        [there] = search(FAMILIES["linear"].space("course"), engine.submit, max_evals=1)
    here = objective((dataset.load("train"), dataset.load("val")), 0, there.params)
    assert there == here and there.status == "ok"


def test_an_unknown_engine_is_refused_with_those_there_are(dataset):
    """Before anything is started."""
    with (
        pytest.raises(EngineError) as error,
        open_engine("spark://here", Objective("linear", "full", 42), dataset, "", 1),
    ):
        pass
    assert str(error.value) == f"no engine 'spark://here'\n{ENGINES}"
