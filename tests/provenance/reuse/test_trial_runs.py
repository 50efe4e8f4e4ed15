"""Trials in the tracking store: kept as they finish, live on the search's run by number, taken up again."""

import random
from dataclasses import replace

import pytest

from provenance.pipeline.declaration import Metric
from provenance.record import names
from provenance.reuse import cache, trial_runs
from provenance.reuse.trial_runs import TrialRuns, Trials
from search.trial import TrialResult, failed, files_digest

RMSE = Metric("val_rmse", "min")
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

    def open_search(key="k", top_n=2, verify=None, metric=RMSE):
        run = client.create_run(experiment)
        return TrialRuns(client, experiment, run.info.run_id, Trials(key, top_n, metric, verify or as_logged), "taxi")

    return open_search


def take_up(client, runs, max_evals=8):
    """What `runs` takes from every experiment of the store."""
    experiments = cache.experiments(client)
    return runs.known(max_evals, experiments, experiments, lambda line: None)


def as_logged(result, files):
    """Whether the model in `files` scores what `result` says, as `trial` has it."""
    number = int(files["model.json"].split()[1])
    return (result.metrics, result.best_iteration) == ({"val_rmse": SCORES[number]}, 9)


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


def test_a_trials_page_has_a_line_its_curves_and_more_numbers(searching, client):
    """Which are no part of its result: the next search takes the trial up without them."""
    curves = {"train_rmse": [(1, 6.0), (9, 4.0), (10, 4.5)], "val_rmse": [(1, 6.5), (9, 5.0), (10, 5.5)]}
    runs = searching()
    runs.log(replace(trial(0), curves=curves, extra={"train_rmse": 4.0}))
    runs.log(trial(1))
    ok, bad = nested(client, runs)[0], nested(client, runs)[1]
    for name, curve in curves.items():
        history = client.get_metric_history(ok.info.run_id, f"rounds/{name}")
        assert [(point.step, point.value) for point in history] == curve
    assert ok.data.metrics["train_rmse"] == 4.0
    assert ok.data.tags[names.NOTE] == "Trial 0: val_rmse **5.0000** min, fitted and scored in 1.5 s."
    assert bad.data.tags[names.NOTE] == "Trial 1: failed: ArithmeticError: broken."
    again = searching()
    assert take_up(client, again)[0] == trial_without_files(0)
    [link] = [nested(client, again)[0].data.tags[names.NOTE]]
    assert link.endswith(f"known from [an earlier search](#/experiments/{ok.info.experiment_id}/runs/{runs.runs[0]}).")


def test_the_best_so_far_is_live_on_the_search_by_trial_number(searching, client):
    """A point for each finished trial, the failed one left out."""
    runs = searching()
    with runs:
        for number in range(8):
            runs.follow(trial(number))
    [search_run] = client.search_runs([client.get_experiment_by_name("trips").experiment_id])
    history = client.get_metric_history(search_run.info.run_id, "best_val_rmse")
    assert [(point.step, point.value) for point in history] == [
        (0, 5.0), (2, 3.0), (3, 3.0), (4, 2.5), (5, 2.5), (6, 2.5), (7, 2.5),
    ]  # fmt: skip
    history = client.get_metric_history(search_run.info.run_id, "trials/val_rmse")
    assert [(point.step, point.value) for point in history] == [
        (number, score) for number, score in enumerate(SCORES) if score
    ]


@pytest.mark.parametrize(("seconds", "calls"), [(60.0, 1), (-1.0, 9)])
def test_points_of_short_trials_share_a_call(seconds, calls, searching, client, monkeypatch):
    """Seven finished trials: one call for all when they come at once, one each when they take long, and the end's."""
    monkeypatch.setattr(trial_runs, "LIVE_SECONDS", seconds)
    runs, batches = searching(), []
    monkeypatch.setattr(client, "log_batch", lambda run_id, **given: batches.append(len(given["metrics"])))
    with runs:
        for number in range(8):
            runs.follow(trial(number))
    assert len(batches) == calls and sum(batches) == 14


def test_a_search_that_fails_shows_how_far_it_went(searching, client):
    """Its own error is what is seen."""
    runs = searching()
    with pytest.raises(ZeroDivisionError), runs:
        runs.follow(trial(0))
        raise ZeroDivisionError
    [search_run] = client.search_runs([client.get_experiment_by_name("trips").experiment_id])
    assert search_run.data.metrics == {"trials/val_rmse": 5.0, "best_val_rmse": 5.0}


def test_a_search_for_the_greatest_shows_and_keeps_the_greatest(searching, client):
    """Another project's metric: accuracy, of which more is better; its loss is the negative."""
    accuracy = Metric("accuracy", greater_is_better=True)

    def result(number):
        files = {"model": b"%d" % number}
        score = [0.5, 0.75, 0.25, 1.0][number]
        return TrialResult(number, {}, "ok", -score, {"accuracy": score}, model_digest=files_digest(files), files=files)

    with searching(top_n=1, metric=accuracy, verify=lambda result, files: True) as runs:
        for number in range(4):
            runs.log(result(number))
            runs.follow(result(number))
    bare = [replace(result(number), files={}) for number in range(4)]
    assert [number for number in range(4) if runs.files(bare[number])] == [0, 1, 3]
    history = client.get_metric_history(nested(client, runs)[0].data.tags[names.PARENT], "best_accuracy")
    assert [point.value for point in history] == [0.5, 0.75, 0.75, 1.0]
    again = searching(top_n=1, metric=accuracy, verify=lambda result, files: True)
    assert list(take_up(client, again, 4)) == [0, 1, 2, 3]


def test_another_attempt_takes_up_every_finished_trial(searching, client):
    """Also one that finished before an earlier one did; each is linked to the run that did it, files included."""
    first = searching()
    for number in (0, 2, 1, 4):
        first.log(trial(number))
    second = searching()
    assert take_up(client, second) == {number: trial_without_files(number) for number in (0, 1, 2, 4)}
    assert {number: run.data.tags[names.REUSED] for number, run in nested(client, second).items()} == first.runs
    assert second.files(trial_without_files(4)) == trial(4).files
    third = searching()
    assert list(take_up(client, third, 2)) == [0, 1]
    assert nested(client, third)[0].data.tags[names.REUSED] == first.runs[0]  # not the link


def test_trials_of_another_search_are_not_taken_up(searching, client):
    """The key says what a trial depends on."""
    searching(key="other").log(trial(0))
    assert take_up(client, searching()) == {}


def test_a_trial_that_was_half_written_never_happened(searching, client, monkeypatch):
    """A crash before the result is there leaves a run without one, and the trial runs again."""
    runs = searching()
    with monkeypatch.context() as patch:
        patch.setattr(client, "log_batch", crash)
        with pytest.raises(KeyboardInterrupt):
            runs.log(trial(0))
    assert take_up(client, searching()) == {}


def crash(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.fixture
def others(client, tmp_path):
    """A trial as somebody else's run has it: in an experiment of his own, with whatever result and files he likes."""
    experiment = client.create_experiment("others", artifact_location=(tmp_path / "others").as_uri())

    def leave(result, files=None, experiment=experiment):
        tags = {names.SEARCH_KEY: "k", names.TRIAL_RESULT: result.to_json()}
        run_id = client.create_run(experiment, tags=tags).info.run_id
        for name, content in (files or {}).items():
            client.log_text(run_id, content.decode(), f"{names.ESTIMATOR}/{name}")
        client.set_terminated(run_id)
        return run_id

    leave.experiment = experiment
    return leave


def winning(number=0, **changes):
    """A result that nobody beats, of a model that was never fitted."""
    return replace(trial(number), **{"loss": 0.5, "metrics": {"val_rmse": 0.5}, **changes})


FORGED = {
    "no model": (winning(), None),
    "another model than stated": (winning(), {"model.json": b"model 4"}),
    "a model that scores otherwise": (winning(), trial(0).files),
    "scores that are not its own score": (winning(metrics={"val_rmse": 5.0}), trial(0).files),
    "another best iteration": (replace(trial(0), best_iteration=90), trial(0).files),
}


@pytest.mark.parametrize("place", ["in mine", "in another"])
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_winner_is_run_again(forged, place, searching, client, others):
    """It takes a tag to write one; what wins does so with the model it states, scored again. Said once."""
    result, files = FORGED[forged]
    mine = client.get_experiment_by_name("trips").experiment_id
    run_id = others(result, files, mine if place == "in mine" else others.experiment)
    runs, lines = searching(), []
    assert runs.known(8, [mine, others.experiment], [mine], lines.append) == {}
    said = f"trial 0 of run {run_id} is not taken: its model was not kept, or does not score what the run says"
    assert lines == ([said] if place == "in mine" else [])
    assert runs.runs == {}


def test_a_forged_winner_does_not_hide_the_sound_trial(searching, client, others):
    """Of two runs of one trial the one that holds is taken, and the others of the search as they are."""
    mine = client.get_experiment_by_name("trips").experiment_id
    others(winning(), experiment=mine)
    first = searching()
    for number in (0, 2, 4):
        first.log(trial(number))
    assert list(take_up(client, searching())) == [0, 2, 4]


def test_a_trial_that_lost_is_believed_where_one_works_and_scored_elsewhere(searching, client, others):
    """After a crash nothing is scored but the best; of an experiment that one only trusts everything is."""
    mine, scored = client.get_experiment_by_name("trips").experiment_id, []

    def verify(result, files):
        scored.append(files["model.json"].decode())
        return as_logged(result, files)

    first = searching()
    for number in range(6):
        first.log(trial(number))
    searching(verify=verify).known(8, [mine], [mine], lambda line: None)
    assert sorted(scored) == ["model 2", "model 4"]  # the two best of them
    scored.clear()
    known = searching(verify=verify).known(8, [mine], [others.experiment], lambda line: None)
    assert sorted(scored) == ["model 0", "model 2", "model 3", "model 4"]  # each that has a model
    assert list(known) == [0, 2, 3, 4]  # trial 1 failed and trial 5 kept none: run again


def test_only_trusted_experiments_are_looked_in(searching, client, others):
    """A sound trial, too, is taken of those alone whom one trusts."""
    mine = client.get_experiment_by_name("trips").experiment_id
    others(trial(0), trial(0).files)
    assert searching().known(8, [mine], [mine], lambda line: None) == {}
    assert list(searching().known(8, [mine, others.experiment], [mine], lambda line: None)) == [0]


def test_a_trial_of_other_parameters_is_taken_back(searching, client):
    """Its link goes, and the one that is run instead stands in its place."""
    searching().log(trial(4))
    runs = searching()
    known = take_up(client, runs)
    link = runs.runs[4]
    runs.forget(known[4])
    assert client.get_run(link).info.lifecycle_stage == "deleted"
    runs.log(trial(4))
    assert runs.runs[4] != link
    assert runs.files(trial_without_files(4)) == trial(4).files


@pytest.mark.parametrize("lie", [{"metrics": {"val_rmse": 7.0, "a\nb": 1.0}}, {"params": {"a\nb": 1}}])
def test_a_trial_whose_names_mlflow_refuses_is_run_again(lie, searching, client):
    """It ends no search; the others are taken up."""
    first = searching()
    for number in range(3):
        first.log(trial(number))
    altered = replace(trial_without_files(7), **lie)
    run_id = client.create_run(client.get_experiment_by_name("trips").experiment_id).info.run_id
    client.set_tag(run_id, names.SEARCH_KEY, "k")
    client.set_tag(run_id, names.TRIAL_RESULT, altered.to_json())
    again, experiments, said = searching(), cache.experiments(client), []
    assert sorted(again.known(8, experiments, experiments, said.append)) == [0, 1, 2]
    assert said == [f"trial 7 of run {run_id} is not taken: MLflow refuses its result"]
    assert sorted(again.runs) == [0, 1, 2]
