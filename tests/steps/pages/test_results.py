"""The result of a run in one line, from its record and metrics."""

from dataclasses import replace

import pytest

from provenance.record.lineage import Input, Output
from provenance.reuse.cache import Hit
from steps.pages import results
from tests.support.records import RECORD, A

RUN = "5" * 32


def hit(step: str, params: dict, metrics: dict, source: str = "tlc", outputs: tuple = ()) -> Hit:
    months = (Input("2023-01", source, A),)
    return Hit(RUN, "ada", 0, replace(RECORD, step=step, params=params, inputs=months, outputs=outputs), metrics)


MADE = {
    "preprocess": hit(
        "preprocess",
        {"taxi": "green", "train_months": "2023-01", "test_months": "2023-03"},
        {"train_rows": 1200, "test_rows": 34, "floor_rmse": 3.5},
        source="sample:600",
    ),
    "train": hit("train", {"model": "xgboost"}, {"val_rmse": 4.5, "train_rmse": 4.0}),
    "register": hit(
        "register",
        {},
        {"test_rmse": 4.25, "registered_test_rmse": 4.125, "val_rmse": 4.375},
        outputs=(Output("version", "models:/trips/3", A),),
    ),
}
MADE_UP = "**The city is made up**"


@pytest.mark.parametrize(
    ("source", "made_up"), [("sample", True), ("sample:500", True), ("tlc", False), ("/sample", False)]
)
def test_of_the_samples_trips_it_is_said_that_the_city_is_made_up(source, made_up):
    """After the result, which is one line."""
    made = replace(
        MADE["preprocess"], lineage=replace(MADE["preprocess"].lineage, inputs=(Input("2023-01", source, A),))
    )
    result, *rest = results.preprocess(None, made)
    assert result == "**1,234 green trips**: 1,200 training (2023-01), 34 test (2023-03)."
    assert [line.startswith(MADE_UP) for line in rest] == [True] * made_up


def test_train_and_hpo_say_the_validation_error_first():
    """And hpo how to fit its best trial alone, as a command that works as it stands."""
    assert results.train(None, MADE["train"]) == (
        "Validation RMSE **4.5000 minutes** (xgboost); 4.0000 on the training months.",
    )
    search = Output("search", f"runs:/{RUN}/search", A)
    found = hit("hpo", {"model": "linear"}, {"val_rmse": 4.375, "best_trial": 7.0}, outputs=(search,))
    result, command = results.hpo(None, found)
    assert result == "Validation RMSE **4.3750 minutes** (linear): trial 7, the best."
    assert f"`.venv/bin/mlflow run . -e train -P model=linear -P params=runs:/{RUN}/search/best_params.json`" in command


def test_the_chain_says_the_versions_error_and_what_to_compare_it_with():
    """Its links lead to the version."""
    result, compared, made_up = results.main(None, MADE)
    assert result == "Test RMSE **4.2500 minutes**; 4.1250 after refitting on train and val."
    assert compared == "Validation RMSE 4.3750; of the baseline 4.5000. The floor, a perfect model's, is 3.5000."
    assert made_up.startswith(MADE_UP)
