"""Trials in the tracking store: kept as they finish, live on the search's run by number, taken up again."""

import random

import pytest

from taxi.trials import TrialResult, failed, files_digest
from tracking import names
from tracking.trials import TrialRuns

SCORES = [5.0, None, 3.0, 4.0, 2.5, 6.0, 2.5, 7.0]  # None: failed


def trial(number):
    params, score = {"depth": number}, SCORES[number]
    if score is None:
        return failed(number, params, "ArithmeticError: broken", trace="Traceback ...")
    files = {"model.json": f"model {number}".encode(), "trees/0": b"tree"}
    digest = files_digest(files)
    return TrialResult(number, params, "ok", score, {"val_rmse": score}, 9, digest, seconds=1.5, files=files)


@pytest.fixture
def searching(client):
    """A function that opens another search run in the same store: the next attempt at the same search."""
    experiment = client.get_experiment_by_name("trips").experiment_id

    def open_search(key="k", top_n=2):
        run = client.create_run(experiment)
        return TrialRuns(client, experiment, run.info.run_id, key, top_n, "taxi")

    return open_search


def nested(client, runs):
    """Trial number -> its run."""
    return {number: client.get_run(run_id) for number, run_id in runs.runs.items()}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_of_finishing_the_best_have_their_files(seed, searching, client):
    """The two best, trial 4 and 6, its equal, need no second fit."""
    runs, order = searching(), list(range(8))
    random.Random(seed).shuffle(order)
    for number in order:
        runs.log(trial(number))
    for number in (4, 6):
        assert runs.files(trial_without_files(number)) == trial(number).files


def test_a_trial_behind_the_best_leaves_no_files(searching):
    """Two hundred forests of forty megabytes would fill the store."""
    runs = searching()
    for number in range(4):
        runs.log(trial(number))
    assert [number for number in range(4) if runs.files(trial_without_files(number))] == [0, 2, 3]


def trial_without_files(number):
    return TrialResult.from_json(trial(number).to_json())


def test_a_trial_is_a_run_of_its_own_with_what_came_of_it(searching, client):
    """Parameters, metrics and status to sort by; a failed one says why."""
    runs = searching()
    for number in (1, 0):
        runs.log(trial(number))
    ok, bad = nested(client, runs)[0], nested(client, runs)[1]
    assert ok.data.params == {"depth": "0"} and ok.data.metrics == {"val_rmse": 5.0, "best_iteration": 9.0}
    assert (ok.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert bad.data.tags["error"] == "ArithmeticError: broken"
    assert ok.info.end_time - ok.info.start_time == pytest.approx(1500, abs=1000)
    assert ok.data.tags[names.PARENT] == bad.data.tags[names.PARENT]


def test_the_best_so_far_is_live_on_the_search_by_trial_number(searching, client):
    """A point for each finished trial, the failed one left out."""
    runs = searching()
    for number in range(8):
        runs.follow(trial(number))
    [search_run] = client.search_runs([client.get_experiment_by_name("trips").experiment_id])
    history = client.get_metric_history(search_run.info.run_id, "best_val_rmse")
    assert [(point.step, point.value) for point in history] == [
        (0, 5.0), (2, 3.0), (3, 3.0), (4, 2.5), (5, 2.5), (6, 2.5), (7, 2.5),
    ]  # fmt: skip


def test_another_attempt_takes_up_every_finished_trial(searching, client):
    """Also one that finished before an earlier one did; each is linked to the run that did it, files included."""
    first = searching()
    for number in (0, 2, 1, 4):
        first.log(trial(number))
    second = searching()
    assert second.known(max_evals=8) == {number: trial_without_files(number) for number in (0, 1, 2, 4)}
    assert {number: run.data.tags[names.REUSED] for number, run in nested(client, second).items()} == first.runs
    assert second.files(trial_without_files(4)) == trial(4).files
    third = searching()
    assert list(third.known(max_evals=2)) == [0, 1]
    assert nested(client, third)[0].data.tags[names.REUSED] == first.runs[0]  # not the link


def test_trials_of_another_search_are_not_taken_up(searching):
    """The key says what a trial depends on."""
    searching(key="other").log(trial(0))
    assert searching().known(max_evals=8) == {}


def test_a_trial_that_was_half_written_never_happened(searching, client, monkeypatch):
    """A crash before the result is there leaves a run without one, and the trial runs again."""
    runs = searching()
    with monkeypatch.context() as patch:
        patch.setattr(client, "log_batch", crash)
        with pytest.raises(KeyboardInterrupt):
            runs.log(trial(0))
    assert searching().known(max_evals=8) == {}


def crash(*args, **kwargs):
    raise KeyboardInterrupt
