"""The search proper, against hyperopt's own loop, with trials that cost nothing."""

import itertools
import math
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hyperopt import fmin, hp, tpe
from hyperopt.pyll.base import scope

from search.tpe import HYPEROPT, OURS, SearchError, Suggestions, Tuning, best, search
from search.trial import TrialResult, failed

SPACE = {
    "max_depth": scope.int(hp.quniform("max_depth", 1, 20, 1)),
    "n_estimators": hp.quniform("n_estimators", 10, 50, 1),
    "learning_rate": hp.loguniform("learning_rate", -4, 0),
    "kind": hp.choice("kind", ["deep", "flat", "wide"]),
}


def loss(params):
    """Lowest, 0, at max_depth 7, n_estimators 33, learning_rate exp(-2), kind deep."""
    depth, trees = 0.1 * (params["max_depth"] - 7) ** 2, 0.02 * abs(params["n_estimators"] - 33)
    return depth + trees + (math.log(params["learning_rate"]) + 2) ** 2 + 0.3 * (params["kind"] != "deep")


def toy(number, params):
    """Every seventh trial fails."""
    return failed(number, params, "broken") if number % 7 == 3 else TrialResult(number, params, "ok", loss(params))


def at_once(trial=toy):
    """A submit that has run the trial when it returns."""

    def submit(number, params):
        future = Future()
        future.set_result(trial(number, params))
        return future

    return submit


class Disorder:
    """A submit of `trials`, `together` at a time, which finish in another order than they were given in.

    Each waits for the one that a shuffled order has before it, not for the clock: a busy machine changes nothing.
    """

    def __init__(self, seed, together, trials):
        self.pool, self.lock = ThreadPoolExecutor(16), threading.Lock()
        self.now = self.most = 0
        self.finished = []
        self.random, self.together, self.trials = random.Random(seed), together, trials
        self.ended = {}  # by number; of a whole group, as soon as one of it is asked for
        self.waits_for = {}

    def __call__(self, number, params):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if number not in self.ended:
            group = range(number, min(number + self.together, self.trials))
            order = self.random.sample(group, len(group))
            self.ended |= {each: threading.Event() for each in group}
            self.waits_for |= dict(itertools.pairwise(reversed(order)))
        return self.pool.submit(self.run, number, params)

    def run(self, number, params):
        if number in self.waits_for:
            assert self.ended[self.waits_for[number]].wait(60)
        with self.lock:
            self.now -= 1
            self.finished.append(number)
        self.ended[number].set()
        return toy(number, params)


@pytest.fixture(scope="module")
def undisturbed():
    """Fifty trials, four of them open at a time."""
    return search(SPACE, at_once(), max_evals=50, batch=4, seed=42)


@pytest.mark.parametrize("seed", [0, 42])
@pytest.mark.parametrize("fails", [False, True])
def test_batch_1_is_hyperopts_sequential_fmin(seed, fails):
    """Forty trials, twenty of them past start-up, have the very parameters that fmin tries, also after failures."""
    tried = []

    def objective(params):
        tried.append(params)
        bad = fails and toy(len(tried) - 1, params).status == "fail"
        return {"status": "fail"} if bad else {"status": "ok", "loss": loss(params)}

    rng = np.random.default_rng(seed)
    fmin(objective, SPACE, tpe.suggest, 40, rstate=rng, show_progressbar=False, verbose=False)
    trial = toy if fails else lambda number, params: TrialResult(number, params, "ok", loss(params))
    ours = search(SPACE, at_once(trial), max_evals=40, batch=1, seed=seed)
    assert [result.params for result in ours] == tried


def test_parameters_are_plain_values(undisturbed):
    """Choices are values, not indices, and nothing is a numpy scalar that JSON or MLflow would spell otherwise."""
    types = {name: {type(result.params[name]) for result in undisturbed} for name in SPACE}
    assert types == {"max_depth": {int}, "n_estimators": {float}, "learning_rate": {float}, "kind": {str}}
    assert {result.params["kind"] for result in undisturbed} == {"deep", "flat", "wide"}


def test_real_numbers_have_six_digits_and_fmins_all(undisturbed):
    """The last bits of a logarithm are the CPU's; with batch=1 the search is plain fmin, to the last of them."""
    rates = [result.params["learning_rate"] for result in undisturbed]
    assert rates == [float(f"{rate:.6g}") for rate in rates]
    [first] = search(SPACE, at_once(), max_evals=1, batch=1, seed=42)
    assert first.params["learning_rate"] != float(f"{first.params['learning_rate']:.6g}")


def test_a_trial_knows_the_results_up_to_its_number_minus_batch():
    """Whether trial 20 was the best or the worst so far: trials up to 23 are the same, trial 24 is another."""

    def with_trial_20(value):
        def trial(number, params):
            return replace(toy(number, params), loss=value) if number == 20 else toy(number, params)

        return [result.params for result in search(SPACE, at_once(trial), max_evals=25, batch=4)]

    if_best, if_worst = with_trial_20(-1.0), with_trial_20(1000.0)
    assert if_best[:24] == if_worst[:24]
    assert if_best[24] != if_worst[24]


def test_trials_still_running_count_as_bad_ones():
    """Else trials side by side try the same spot: four suggestions in a row are those after three failures."""

    def four_more(tell_failures):
        suggestions = Suggestions(SPACE, seed=1, tuning=OURS)
        for number in range(9):
            suggestions.tell(TrialResult(number, {}, "ok", loss(suggestions.next())))
        more = []
        for number in range(9, 13):
            more.append(suggestions.next())
            if tell_failures:
                suggestions.tell(failed(number, more[-1], "broken"))
        return more

    assert four_more(tell_failures=False) == four_more(tell_failures=True)


def test_four_at_a_time_find_better_than_random_ones():
    """A TPE that learned nothing would do as well as thirty random trials."""

    def mean_best(tuning):
        runs = [search(SPACE, at_once(), max_evals=30, seed=seed, tuning=tuning) for seed in range(6)]
        return np.mean([best(run)[0].loss for run in runs])

    assert mean_best(OURS) < 0.7 * mean_best(Tuning(startup=30, gamma=1.0))


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9])
def test_workers_and_the_order_of_finishing_change_nothing(workers, undisturbed):
    """The same fifty trials, never more at once than workers or batch."""
    disorder = Disorder(seed=workers, together=min(workers, 4), trials=50)
    assert search(SPACE, disorder, max_evals=50, batch=4, seed=42, workers=workers) == undisturbed
    assert disorder.most == min(workers, 4)
    if workers > 1:
        assert disorder.finished != sorted(disorder.finished)


def test_results_are_told_in_order_before_anything_is_suggested_from_them():
    """on_told sees 0, 1, 2, ... and trial n starts only after result n - batch was taken in."""
    told, started = [], []

    def submit(number, params):
        assert number < 4 or number - 4 in told
        started.append(number)
        return disorder(number, params)

    disorder = Disorder(seed=5, together=4, trials=30)
    search(SPACE, submit, max_evals=30, batch=4, workers=4, on_told=lambda result: told.append(result.number))
    assert told == list(range(30))
    assert sorted(started) == list(range(30))


def test_a_result_is_kept_as_soon_as_it_is_there():
    """Trial 0 ends only when 1, 2 and 3 have been kept: a crash while it runs loses none of them."""
    first: Future = Future()
    kept, told = [], []

    def submit(number, params):
        return at_once()(number, params) if number else first

    def keep(result):
        kept.append(result.number)
        if kept == [1, 2, 3]:
            first.set_result(toy(0, {**result.params}))

    search(SPACE, submit, max_evals=6, workers=2, on_finished=keep, on_told=lambda result: told.append(result.number))
    assert kept == [1, 2, 3, 0, 4, 5]
    assert told == list(range(6))


def test_results_beside_an_error_of_the_engine_are_kept():
    """A lost cluster costs the trial that ran there, not the one that had just finished."""
    broken: Future = Future()
    broken.set_exception(ConnectionError("scheduler gone"))
    kept = []
    with pytest.raises(ConnectionError, match="scheduler gone"):
        search(
            SPACE,
            lambda number, params: at_once()(number, params) if number else broken,
            max_evals=5,
            workers=2,
            on_finished=lambda result: kept.append(result.number),
        )
    assert kept == [1]


@pytest.mark.parametrize("cut", [1, 7, 8, 19, 42, 50])
def test_a_resumed_search_runs_only_what_is_missing(cut, undisturbed):
    """Killed after any number of trials, the rest is what it would have been, and nothing runs twice."""
    started, told = [], []

    def submit(number, params):
        started.append(number)
        return at_once()(number, params)

    known = {result.number: TrialResult.from_json(result.to_json()) for result in undisturbed[:cut]}
    kept = []
    again = search(SPACE, submit, max_evals=50, known=known, on_finished=kept.append, on_told=told.append)
    assert again == told == undisturbed
    assert started == [result.number for result in kept] == list(range(cut, 50))


def test_a_resumed_search_may_know_a_later_trial_than_one_it_lacks(undisturbed):
    """Trial 10 was recorded while trial 9 still ran."""
    started = []

    def submit(number, params):
        started.append(number)
        return at_once()(number, params)

    known = {result.number: result for result in undisturbed[:11] if result.number != 9}
    assert search(SPACE, submit, max_evals=20, known=known, workers=2) == undisturbed[:20]
    assert started[0] == 9 and 10 not in started


def test_twenty_trials_are_the_first_of_fifty(undisturbed):
    """max_evals only says where to stop, so that it can be raised later."""
    assert search(SPACE, at_once(), max_evals=20, batch=4, seed=42) == undisturbed[:20]


@pytest.mark.parametrize("changed", [{"seed": 43}, {"batch": 2}, {"tuning": HYPEROPT}])
def test_the_answer_depends_on_seed_batch_and_tuning(changed, undisturbed):
    """None of the three is ignored."""
    arguments = {"max_evals": 50, "batch": 4, "seed": 42} | changed
    assert search(SPACE, at_once(), **arguments) != undisturbed


def test_an_earlier_trial_of_other_parameters_is_run_again(undisturbed):
    """Whoever wrote it: it neither enters the search nor ends it."""
    forged = replace(undisturbed[0], params={**undisturbed[0].params, "kind": "other"}, loss=-1.0)
    known, unlike = {0: forged, 1: undisturbed[1]}, []
    made = search(SPACE, at_once(), max_evals=20, known=known, on_unlike=unlike.append)
    assert made == undisturbed[:20]
    assert unlike == [forged]


def scripted(losses):
    """Trials with these validation RMSEs by number, None for a failed one."""

    def trial(number, params):
        value = losses[number]
        return failed(number, params, "x") if value is None else TrialResult(number, params, "ok", value)

    return trial


@pytest.mark.parametrize(
    ("losses", "length"),
    [
        ([5, 4, 4, 4.5, None, 3, 3], 5),  # best is 1; 2, 3, 4 are no better
        ([5, 4, 4.5, 3, 3.5, 3.5, 2, 1], 8),
        ([None, None, None, 1], 3),
        ([1, 2, 2, 2, 0], 4),
    ],
)
@pytest.mark.parametrize("workers", [1, 4])
def test_the_search_stops_after_three_trials_in_a_row_without_a_new_best(losses, length, workers):
    """An equal or a failed trial is no new best; trials already started beyond the stop are not part of the answer."""
    told = []
    results = search(
        SPACE,
        at_once(scripted(losses)),
        max_evals=len(losses),
        workers=workers,
        stop_after=3,
        on_told=lambda result: told.append(result.number),
    )
    assert [result.number for result in results] == told == list(range(length))


def test_a_search_where_everything_fails_still_ends():
    """TPE has only failures to learn from."""
    assert {r.status for r in search(SPACE, at_once(scripted([None] * 15)), max_evals=15)} == {"fail"}


def test_the_saved_model_goes_to_on_finished_and_is_not_kept():
    """Two hundred forests of forty megabytes would not fit in memory."""
    seen = []
    trial = TrialResult(0, {}, "ok", 1.0, files={"model": b"bytes"})
    results = search(
        SPACE,
        at_once(lambda number, params: replace(trial, number=number, params=params)),
        max_evals=2,
        on_finished=lambda result: seen.append(result.files),
    )
    assert seen == [{"model": b"bytes"}] * 2
    assert [result.files for result in results] == [{}, {}]


def test_an_error_of_the_engine_ends_the_search():
    """A lost cluster is not fifty failed trials."""

    def submit(number, params):
        future = Future()
        future.set_exception(ConnectionError("scheduler gone"))
        return future

    with pytest.raises(ConnectionError, match="scheduler gone"):
        search(SPACE, submit, max_evals=5)


@pytest.mark.parametrize("bad", [{"max_evals": 0}, {"batch": 0}, {"workers": 0}, {"stop_after": -1}])
def test_numbers_that_make_no_search_are_refused(bad):
    """Each is named in the message with its value."""
    [(name, value)] = bad.items()
    with pytest.raises(SearchError, match=f"{name}={value}"):
        search(SPACE, at_once(), **{"max_evals": 5} | bad)


def test_best_are_sorted_and_the_earlier_of_equals_comes_first():
    """Failed trials are never among them."""
    results = [scripted([3.0, None, 1.0, 3.0, 2.0])(number, {}) for number in range(5)]
    assert [result.number for result in best(results, 3)] == [2, 4, 0]
    assert best(results[1:2]) == []
