"""The model card: what a stranger needs, of a model written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from provenance.record.run_page import GAP
from steps.pages.card import LENGTH, Subject, became, card
from taxi.evaluation.evaluate import Evaluation
from taxi.evaluation.promotion_rule import Decision
from taxi.evaluation.slices import Rows
from taxi.features.fitting import FEATURE_SETS

RUN, SEARCH = "1" * 32, "2" * 32
MANIFEST = SimpleNamespace(
    taxi="green",
    splits=("train", "val", "test"),
    month_span=lambda split: {"train": "2023-01", "val": "2023-02", "test": "2023-03"}[split],
    rows=lambda split: 1234,
)


def judged(error: float) -> Evaluation:
    """Two hundred trips of ten minutes on two days, at 8:00 from zone 74 and at 23:00, worse, from zone 7."""
    y = np.full(200, 10.0)
    late = np.arange(200) >= 100
    rows = Rows(y, np.arange(200) % 2, np.where(late, 23, 8).astype(np.int8), np.where(late, 7, 74))
    predicted = y + np.where(late, 2 * error, error)
    return Evaluation(rows, predicted, predicted - 3 * error / 2, predicted + 1)


def subject(**changes) -> Subject:
    values = dict(
        family="xgboost", feature_set=FEATURE_SETS["full"], manifest=MANIFEST, trial=7, select="val", refit="train+val",
        val_metrics={"val_rmse": 4.25}, judged=judged(2.0), registered=judged(1.0),
        decision=Decision(True, "there was no champion yet"), search_run_id=SEARCH, run_id=RUN, experiment_id="5",
    )  # fmt: skip
    return Subject(**{**values, **changes})


def test_the_card_says_what_it_is_how_good_and_how_to_make_it_again():
    """Data, features and when they are known, both models on the same trips, worst slices, limits, the command."""
    text = card(subject()).replace(GAP, "")
    for part in (
        "How long a green taxi trip takes: xgboost on features `full`.",
        "When it was registered **it became champion**: there was no champion yet.",
        "| train | 2023-01 | 1,234 |",
        "- known when it has ended: `trip_distance`, `detour`",
        "| RMSE on the validation months | 4.250 min |  |",
        "| mean absolute error | 3.000 min | 1.500 min |",
        "| RMSE (95 % interval, by days) | 3.162 min (3.162 to 3.162) | 1.581 min (1.581 to 1.581) |",
        "| trips inside their 90 % interval | 50.0% | 50.0% |",
        "| pickups at 23:00 | 100 | 2.00 min |",
        "| pickups in zone 7 | 100 | 2.00 min |",
        "It needs the metered distance",
        f"run [{RUN}](#/experiments/5/runs/{RUN})",
        f"\n.venv/bin/mlflow run . -e reproduce -P run_id={RUN} -P depth=all\n",
    ):
        assert part in text, part
    assert len(text) < LENGTH / 1.5


def test_without_a_last_fit_there_is_one_column():
    """Nothing is said twice."""
    text = card(subject(refit="train", registered=judged(2.0), decision=Decision(False, "not better"))).replace(GAP, "")
    assert "| on the test months | chosen: fitted on train |\n" in text
    assert "It is registered as it was judged." in text
    assert "**it stayed candidate**: not better." in text


def test_the_runs_page_gets_the_decision_in_a_sentence():
    """What became of the version, and why."""
    assert became(Decision(True, "there was no champion yet")) == "It became champion: there was no champion yet."
    assert became(Decision(False, "not better")) == "It stayed candidate: not better."


@pytest.mark.parametrize("features", ["pickup", "full", "course"])
def test_only_models_that_need_the_distance_say_so(features):
    """What is known at booking answers before the trip."""
    text = card(subject(feature_set=FEATURE_SETS[features]))
    assert ("It needs the metered distance" in text) is (features != "pickup")


def test_a_long_reason_does_not_lose_the_rest_of_the_page():
    """MLflow keeps 5,000 characters."""
    text = card(subject(decision=Decision(False, "x" * 9000)))
    assert len(text) < LENGTH
    assert f"-e reproduce -P run_id={RUN}" in text


def test_of_the_sample_the_first_thing_said_is_that_the_city_is_made_up():
    """Of real trips it is not said."""
    assert card(subject(made_up=True)).startswith("**The city is made up**: this project generated the trips")
    assert "made up" not in card(subject())
