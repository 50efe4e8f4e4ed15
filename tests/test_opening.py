"""An engine by its name, and where its workers get the dataset."""

import pytest

from taxi.dataset import Dataset, DatasetError, build
from taxi.engines import EngineError
from taxi.engines.opening import load_splits, opened
from taxi.features import FEATURE_SETS
from taxi.models import FAMILIES
from taxi.search import search
from taxi.trials import Objective


@pytest.fixture
def dataset(month_of, tiny_trips, tmp_path):
    """Twelve trips of January to train on, and the same twelve to validate."""
    splits = {"train": [month_of(tiny_trips)], "val": [month_of(tiny_trips, "2023-02")]}
    build(splits, FEATURE_SETS["course"], tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def test_the_local_engine_fits_on_the_dataset_given(dataset):
    """The same score as a fit in this process on the splits as they are loaded."""
    objective = Objective("linear", "course", 42)
    with opened("local", objective, dataset, "unused", workers=1) as engine:
        [there] = search(FAMILIES["linear"].space("course"), engine.submit, max_evals=1)
    here = objective((dataset.load("train"), dataset.load("val")), 0, there.params)
    assert there == here and there.status == "ok"


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_dataset_is_loaded_from_a_folder_or_its_uri(dataset, prefix):
    """Train first, then val, as they were written."""
    train, val = load_splits(f"{prefix}{dataset.folder}")
    assert train.y.tolist() == dataset.load("train").y.tolist()
    assert val.columns == dataset.load("val").columns


def test_a_folder_that_is_no_dataset_is_refused_by_the_worker_too(tmp_path):
    """With the message of the dataset, not of a missing file."""
    with pytest.raises(DatasetError, match="is not a dataset"):
        load_splits(str(tmp_path))


def test_an_unknown_engine_is_refused_with_those_there_are(dataset):
    """Before anything is started."""
    with pytest.raises(EngineError) as error, opened("spark://here", Objective("linear", "full", 42), dataset, "", 1):
        pass
    assert str(error.value) == "no engine 'spark://here'\nGive local, or dask://host:port of a Dask scheduler."
