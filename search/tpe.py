"""The search: TPE with a fixed lag, so that any number of workers gives the same trials, bit for bit.

Trial n is suggested from the results of trials 0 .. n - batch, in order of their numbers whatever the order in which
they finish, from the points that the trials between are trying, and with the n-th draw of `default_rng(seed)` as its
seed. `batch=1` is hyperopt's sequential `fmin`.

No pruner: it does not pay. On the curves of eight searches of real data (benchmarks/pruning.py) the median rule
saves 40 % of the rounds and stops the best trial in six of them; the most lenient one, worse than all before at the
same round, saves 13 % and stops the best in two.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, space_eval, tpe
from hyperopt.base import JOB_STATE_DONE, Domain, spec_from_misc

from search.space import Space
from search.trial import Params, TrialResult

Submit = Callable[[int, Params], Future[TrialResult]]


class SearchError(ValueError):
    """A number that a search cannot work with."""


@dataclass(frozen=True)
class Tuning:
    """How TPE learns. startup: results known before it begins, drawn at random. gamma: how many count as good ones.

    Of n trials ceil(gamma * sqrt(n)) count as good: with hyperopt's 0.25 that is one or two of twenty.
    digits: of a suggested real number, None for all. The last ones differ from CPU to CPU: numpy has its own logarithm
    for some. Six are more than any parameter needs, and the same everywhere.
    """

    startup: int
    gamma: float
    digits: int | None = None


HYPEROPT = Tuning(startup=20, gamma=0.25)  # its defaults: a search of twenty trials is random
# Best of 14 on eight bowls, scored on the same bowls. On real data better than random search after forty trials,
# and as good as hyperopt's and Optuna's within the noise: benchmarks/RESULTS.md.
OURS = Tuning(startup=5, gamma=1.0, digits=6)


class Suggestions:
    """The parameters of trial 0, 1, 2, ..., each from the results told so far.

    hyperopt's public pieces, without its loop: `tpe.suggest` asks a `Domain` (the space) and a `Trials` whose
    documents have a result or not yet; `space_eval` turns its answer (choices as indices) into values. A trial without
    a result counts as a bad one, in hyperopt itself too, so that trials side by side do not all try the same spot.
    """

    def __init__(self, space: Space, seed: int, tuning: Tuning) -> None:
        self._space, self._tuning = space, tuning
        self._domain, self._trials = Domain(None, space), Trials()
        self._draws = np.random.default_rng(seed)
        self._told = 0

    def next(self) -> Params:
        """Parameters of the next trial, as plain Python values."""
        number = len(self._trials)
        [document] = tpe.suggest(
            [number],
            self._domain,
            self._trials,
            self._draws.integers(2**31 - 1),  # exactly as fmin draws the seed of each suggestion
            n_startup_jobs=self._tuning.startup + number - self._told,  # hyperopt counts unfinished trials as well
            gamma=self._tuning.gamma,
            verbose=False,
        )
        self._trials.insert_trial_docs([document])
        self._trials.refresh()
        params = space_eval(self._space, spec_from_misc(document["misc"]))
        return {name: _plain(value, self._tuning.digits) for name, value in params.items()}

    def tell(self, result: TrialResult) -> None:
        """The result of the oldest trial not yet told. A failed trial counts as a known one, worse than any other.

        Raises RuntimeError.
        """
        if result.number != self._told:
            raise RuntimeError(f"results come in order: trial {self._told} is next, not {result.number}")
        ok = result.status == "ok"
        document = self._trials.trials[self._told]
        document["result"] = {"status": STATUS_OK, "loss": result.loss} if ok else {"status": STATUS_FAIL}
        document["state"] = JOB_STATE_DONE
        self._told += 1


def search(
    space: Space,
    submit: Submit,
    *,
    max_evals: int,
    batch: int = 4,
    seed: int = 42,
    workers: int = 1,
    tuning: Tuning | None = None,
    stop_after: int = 0,
    known: Mapping[int, TrialResult] | None = None,
    on_unlike: Callable[[TrialResult], None] = lambda result: None,
    on_finished: Callable[[TrialResult], None] = lambda result: None,
    on_told: Callable[[TrialResult], None] = lambda result: None,
) -> list[TrialResult]:
    """The trials by number: `max_evals` of them, or up to the one that makes `stop_after` in a row without a new best.

    `submit(number, params)` starts a trial and returns its Future; at most min(workers, batch) run at once. `known`
    trials (of an interrupted or a shorter search) are not run again where they had what is suggested; one that had not
    is given to `on_unlike` and run. `on_finished` gets every new result as soon as there is one, in whatever order, so
    that it can be kept: it alone gets the saved model. `on_told` gets every result, known ones too, in order of number,
    before anything is suggested from it. All three are called by this thread. `tuning` is hyperopt's at batch=1, so
    that it is plain `fmin`, and ours above 1. The answer depends on seed, batch, tuning and the results alone;
    max_evals and stop_after only cut it off. Raises SearchError.
    """
    if max_evals < 1 or batch < 1 or workers < 1 or stop_after < 0:
        raise SearchError(
            f"max_evals={max_evals}, batch={batch} and workers={workers} must be 1 or more, stop_after={stop_after} "
            "0 (never stop early) or more"
        )
    known = known or {}
    suggestions = Suggestions(space, seed, tuning or (HYPEROPT if batch == 1 else OURS))
    ready: deque[tuple[int, Params]] = deque()  # suggested, waiting for a free worker
    running: dict[Future[TrialResult], int] = {}
    finished: dict[int, TrialResult] = {}  # not yet told: an earlier trial still runs
    told: list[TrialResult] = []
    suggested = 0

    def start() -> None:
        while ready and len(running) < workers:
            number, params = ready.popleft()
            running[submit(number, params)] = number

    def take_in() -> None:
        done = wait(running, return_when=FIRST_COMPLETED).done
        landed = {running.pop(future): future for future in sorted(done, key=running.__getitem__)}
        start()  # before anything slow: the free worker does not wait for on_finished
        for future in landed.values():
            if not future.exception():
                on_finished(future.result())
        for number, future in landed.items():
            finished[number] = replace(future.result(), files={})  # an engine's error ends the search here

    try:
        while len(told) < max_evals and not _stalled(told, stop_after):
            while suggested < min(len(told) + batch, max_evals):
                params = suggestions.next()
                result = known.get(suggested)
                if result and (result.number, result.params) == (suggested, params):
                    finished[suggested] = result
                else:
                    if result:
                        on_unlike(result)
                    ready.append((suggested, params))
                    start()
                suggested += 1
            if len(told) not in finished:
                take_in()
                continue
            result = finished.pop(len(told))
            on_told(result)
            suggestions.tell(result)
            told.append(result)
        return told
    finally:
        for future in running:
            future.cancel()


def best(results: list[TrialResult], top: int = 1) -> list[TrialResult]:
    """The `top` finished trials with the lowest loss, best first; of equals the earlier."""
    return sorted((r for r in results if r.status == "ok"), key=lambda r: (r.known_loss, r.number))[:top]


def _stalled(told: list[TrialResult], stop_after: int) -> bool:
    if not stop_after:
        return False
    last_best = best(told)[0].number if best(told) else -1
    return len(told) - 1 - last_best >= stop_after


def _plain(value: Any, digits: int | None) -> Any:
    """A suggested value, of whatever type, as Python's own: a real number with as many digits."""
    plain = value.item() if isinstance(value, np.generic) else value
    return float(f"{plain:.{digits}g}") if digits and isinstance(plain, float) else plain
