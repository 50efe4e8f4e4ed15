"""Splits as MLflow shows them: what is in them, what was left out, and which metric was measured on which."""

import json

import pytest

from steps.pages.split_inputs import log_splits, measured_on, profile, split_name
from taxi.dataset.dataset import Dataset, build
from taxi.features.fitting import FEATURE_SETS


@pytest.fixture
def dataset(tiny_trips, month_of, tmp_path) -> Dataset:
    months = {"train": [month_of(tiny_trips)], "val": [month_of(tiny_trips, "2023-02")]}
    build(months, FEATURE_SETS["course"], tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def test_a_split_shows_its_rows_what_was_left_out_and_its_ranges(dataset):
    """Of the twelve trips seven are kept; each reason by itself, the commonest first."""
    found = profile(dataset.folder, dataset.manifest, "train")
    assert (found["rows"], found["records read"]) == (7, 12)
    left_out = {name: count for name, count in found.items() if name.startswith("left out")}
    assert sum(left_out.values()) == 5
    assert list(left_out.values()) == sorted(left_out.values(), reverse=True)
    assert found["duration"] == "1.00 to 60.00 minutes"
    assert found["trip_distance"] == "0.00 to 3.00 miles"
    assert found["pickup_datetime"] == "2009-01-01 00:10 to 2023-01-31 23:59"


def test_the_runs_input_has_schema_and_profile(dataset, client):
    """In the form that MLflow's drawer reads."""
    run_id = client.create_run("1").info.run_id
    log_splits(client, run_id, dataset.folder, dataset.manifest, "runs:/x/dataset", ["train"])
    [item] = client.get_run(run_id).inputs.dataset_inputs
    columns = json.loads(item.dataset.schema)["mlflow_colspec"]
    assert {column["name"]: column["type"] for column in columns}["pickup_datetime"] == "datetime"
    assert json.loads(item.dataset.profile) == profile(dataset.folder, dataset.manifest, "train")
    assert (item.dataset.name, item.dataset.digest) == split_name(dataset.manifest, "train")


def test_a_models_metric_names_the_split_it_was_measured_on(dataset):
    """By the beginning of its name alone: an interval is no `val`; a split that is not there is none."""
    metrics = {"train_rmse": 1.0, "registered_train_interval_width": 2.0, "test_rmse": 3.0, "gate/gain": 4.0}
    found = {metric.key: metric.dataset_name for metric in measured_on(metrics, dataset.manifest, "m-1")}
    name = "green train 2023-01"
    assert found == {"train_rmse": name, "registered_train_interval_width": name, "test_rmse": None, "gate/gain": None}
