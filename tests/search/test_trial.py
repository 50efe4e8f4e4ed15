"""One trial: what it hands back, when it fails, and the table of many."""

import hashlib
import json
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.engines.local import LocalEngine
from search.tpe import search
from search.trial import TrialResult, failed, files_digest, run_trial
from search.trials_table import trials_table, write_trials
from taxi.dataset.mapped_split import open_splits, save_splits
from taxi.dataset.split import Split
from taxi.models.families import FAMILIES, load
from taxi.models.objective import Objective
from tests.support.trial_data import DATA

BOOSTING = Objective("xgboost", "full", seed=42)


def test_a_trial_scores_on_validation_and_hands_back_the_saved_model(tmp_path):
    """The files are what the estimator saves: loaded, they predict with the error that was reported."""
    result = BOOSTING(DATA, 7, {"max_depth": 3, "learning_rate": 0.1})
    assert (result.number, result.status, result.error) == (7, "ok", None)
    assert result.loss == result.metrics["val_rmse"] < 1.0
    for name, content in result.files.items():
        (tmp_path / name).write_bytes(content)
    model = load("xgboost", tmp_path)
    error = model.predict(DATA[1].X) - DATA[1].y
    assert np.sqrt(np.mean(error**2)) == pytest.approx(result.loss, abs=1e-12)
    assert model.best_iteration == result.best_iteration and model.params.max_depth == 3
    assert files_digest(result.files) == result.model_digest


def test_a_boosted_trial_has_its_error_by_round_and_on_training_trips():
    """For its page alone: the result that is recorded, and compared, has neither."""
    result = BOOSTING(DATA, 0, {"max_depth": 3})
    assert set(result.curves) == {"train_rmse", "val_rmse"}
    assert all(len(curve) <= 25 and curve[0][0] == 1 for curve in result.curves.values())
    assert dict(result.curves["train_rmse"])[result.best_iteration + 1] == result.extra["train_rmse"]
    assert result.logged.keys() == {*result.metrics, "train_rmse", "best_iteration"}
    recorded = json.loads(result.to_json())
    assert not recorded.keys() & {"curves", "extra", "files"} and "train_rmse" not in recorded["metrics"]
    with pytest.raises(ValueError, match="more than it should"):
        TrialResult.from_json(json.dumps({**recorded, "curves": {"x": "y"}}))


def test_the_digest_of_files_is_over_names_and_contents():
    """Worked out by hand: a line for each file, sorted by name."""
    lines = f"{hashlib.sha256(b'1').hexdigest()}  a\n{hashlib.sha256(b'2').hexdigest()}  b\n"
    assert files_digest({"b": b"2", "a": b"1"}) == hashlib.sha256(lines.encode()).hexdigest()


def test_parameters_that_the_family_does_not_take_are_a_failed_trial():
    """Whatever a trial raises is kept in a line, with its traceback beside it."""
    result = run_trial(BOOSTING, DATA, 1, {"max_depth": 99})
    assert result == failed(
        1, {"max_depth": 99}, "ParamsError: xgboost: max_depth=99 is not a whole number from 1 to 20"
    )
    assert "Traceback" in result.traceback


def test_the_error_of_a_trial_has_no_clock_and_no_addresses():
    """XGBoost's messages begin with the time of day; the trials table must be the same on every machine."""

    def objective(data, number, params):
        raise ValueError("[12:34:56] at 0x7f00aa: bad\nStack trace:\n 0x1")

    assert run_trial(objective, None, 0, {}).error == "ValueError: at 0x: bad"


@pytest.mark.parametrize("family", ["linear", "random_forest", "xgboost"])
def test_a_trial_over_its_time_is_recorded_with_the_limit(family):
    """A limit that is already over when the fit begins."""
    result = run_trial(Objective(family, "full", 42, timeout=-1.0), DATA, 0, {})
    assert (result.status, result.error) == ("fail", "over trial_timeout=-1 s")


def test_a_score_that_is_no_number_is_a_failed_trial():
    """TPE would sort by it."""
    broken = Split(DATA[1].X, np.full(200, np.nan), DATA[1].columns, DATA[1].categorical)
    result = run_trial(Objective("linear", "full", 42), (DATA[0], broken), 0, {})
    assert (result.status, result.error) == ("fail", "ArithmeticError: val_rmse is nan")


def test_a_result_survives_json():
    """Exactly, but for the model's files, which are artifacts."""
    result = BOOSTING(DATA, 0, {"learning_rate": 0.1 + 0.2, "max_depth": 2})
    again = TrialResult.from_json(result.to_json())
    assert again == result and again.seconds == result.seconds and again.files == {}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_trials_table_is_the_same_for_any_number_of_workers(family, tmp_path):
    """Real fits on memory-mapped splits, in one process or four: the same bytes, model digests included."""
    objective, space = Objective(family, "full", 42), FAMILIES[family].space("full")
    folder = tmp_path / "splits"
    folder.mkdir()
    save_splits(folder, *DATA)

    def table(workers):
        with LocalEngine(objective, partial(open_splits, folder), workers) as engine:
            results = search(space, engine.submit, max_evals=6, batch=4, workers=workers)
        assert [result.status for result in results] == ["ok"] * 6
        write_trials(results, tmp_path / f"{workers}.parquet")
        return (tmp_path / f"{workers}.parquet").read_bytes()

    assert table(1) == table(4)


def test_the_trials_table_has_a_row_a_trial_and_no_times(tmp_path):
    """Parameters and scores have their own typed columns; what a failed trial lacks is missing."""
    ok = TrialResult(0, {"depth": 3, "rate": 0.5}, "ok", 2.0, {"val_rmse": 2.0, "val_mae": 1.5}, 9, "abc", seconds=1)
    table = trials_table([ok, failed(1, {"depth": 4, "rate": 0.25}, "broken", seconds=2)])
    assert table.to_pylist() == [
        {
            "number": 0,
            "status": "ok",
            "params.depth": 3,
            "params.rate": 0.5,
            "metrics.val_mae": 1.5,
            "metrics.val_rmse": 2.0,
            "best_iteration": 9,
            "model_digest": "abc",
            "error": None,
        },
        {
            "number": 1,
            "status": "fail",
            "params.depth": 4,
            "params.rate": 0.25,
            "metrics.val_mae": None,
            "metrics.val_rmse": None,
            "best_iteration": None,
            "model_digest": None,
            "error": "broken",
        },
    ]
    write_trials([ok], tmp_path / "trials.parquet")
    assert pq.read_table(tmp_path / "trials.parquet").column_names == table.column_names


LIES = {
    "a number that no float holds": {"loss": 10**400},
    "a score that no float holds": {"metrics": {"val_rmse": -(10**400)}},
    "a duration that no float holds": {"seconds": 10**400},
    "not a number": {"loss": float("nan")},
    "a number below zero": {"number": -1},
    "rounds in words": {"best_iteration": "nine"},
    "an error that is none": {"error": 3},
    "a traceback that is none": {"traceback": ["line"]},
    "a digest that is none": {"model_digest": 7},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_result_that_no_trial_gives_is_refused(lie):
    """Its text is a tag, which anybody who may write can set: it must not end another search."""
    record = json.loads(TrialResult(3, {"depth": 2}, "ok", 5.0, {"val_rmse": 5.0}, 9, "d").to_json())
    assert TrialResult.from_json(json.dumps(record)).number == 3
    with pytest.raises(ValueError, match="not the result of a trial"):
        TrialResult.from_json(json.dumps({**record, **LIES[lie]}))
