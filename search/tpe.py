"""The search: TPE with a fixed lag. Any number of workers gives the same trials, bit for bit.

The parameters of trial n depend on three things: the results of trials 0 .. n - batch, in order of their numbers; the
parameters of the trials between, which may still run; and the n-th draw of `default_rng(seed)` as seed. The order in
which trials finish does not matter. `batch=1` is hyperopt's sequential `fmin`.

There is no pruner, because it stops the best trial too often. On the curves of eight searches of real data
(benchmarks/pruning.py) the median rule saves 40 % of the rounds and stops the best trial in six searches. The most
lenient rule stops a trial that is worse than all earlier ones at the same round: it saves 13 % and stops the best trial
in two searches.
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
    """A parameter of a search is out of range."""


@dataclass(frozen=True)
class Tuning:
    """How TPE learns.

    startup: number of results that TPE waits for. Until then parameters are random.
    gamma: of n trials ceil(gamma * sqrt(n)) count as good. With hyperopt's 0.25 these are one or two of twenty.
    digits: significant digits of a suggested real number; None keeps all. The last digits differ between CPUs, because
        numpy has a special logarithm for some of them. Six digits are enough and the same on each CPU.
    """

    startup: int
    gamma: float
    digits: int | None = None


HYPEROPT = Tuning(startup=20, gamma=0.25)  # hyperopt's defaults: the first twenty trials are random
# The best of 14 settings on eight quadratic test functions, judged on the same functions. On real data it is better
# than random search after forty trials, and as good as hyperopt and Optuna within the noise: benchmarks/RESULTS.md.
OURS = Tuning(startup=5, gamma=1.0, digits=6)


class Suggestions:
    """Suggests the parameters of trials 0, 1, 2, ... from the results that `tell` received so far.

    It uses hyperopt's public functions without hyperopt's loop. `tpe.suggest` reads a `Domain` (the space) and a
    `Trials`, whose documents may lack a result. `space_eval` turns its answer (choices as indices) into values. A trial
    without a result counts as bad, as in hyperopt itself. So trials that run at the same time try different points.
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
        """Give the next result, in order of trial numbers. A failed trial counts as worse than all others.

        Raises RuntimeError for a result out of order.
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
    """Run a search. Its trials depend only on seed, batch, tuning and the results of trials.

    Parameters
    ----------
    space : Space
        Parameter name to hyperopt's expression.
    submit : callable
        ``submit(number, params)`` starts a trial and returns its Future.
    max_evals : int
        Number of trials.
    batch : int, optional
        The lag: a trial does not wait for the `batch` - 1 trials before it. 1 is hyperopt's sequential `fmin`.
    seed : int, optional
        Seed of all suggestions.
    workers : int, optional
        Number of trials at once; more than `batch` are of no use.
    tuning : Tuning, optional
        How TPE learns. The default is HYPEROPT for ``batch=1``, else OURS.
    stop_after : int, optional
        Stop after this number of trials in a row without a new best. 0 never stops early.
    known : mapping of int to TrialResult, optional
        Results of earlier trials by number. A known trial does not run if its parameters are those that are suggested.
    on_unlike : callable, optional
        Receives a known result whose parameters are not those that are suggested. The trial then runs.
    on_finished : callable, optional
        Receives each new result as soon as its trial ends, in any order. Only this result has the files of the model.
    on_told : callable, optional
        Receives each result, also a known one, in order of numbers, before TPE learns from it.

    Returns
    -------
    list of TrialResult
        The results by number, without the files of models.

    Raises
    ------
    SearchError
        If a parameter is out of range.
    EngineError
        If the engine fails.

    Notes
    -----
    All callbacks are called by the thread that called `search`.
    """
    if max_evals < 1 or batch < 1 or workers < 1 or stop_after < 0:
        raise SearchError(
            f"max_evals={max_evals}, batch={batch} and workers={workers} must be 1 or more, stop_after={stop_after} "
            "0 (never stop early) or more"
        )
    known = known or {}
    suggestions = Suggestions(space, seed, tuning or (HYPEROPT if batch == 1 else OURS))
    ready: deque[tuple[int, Params]] = deque()  # suggested trials that wait for a free worker
    running: dict[Future[TrialResult], int] = {}
    finished: dict[int, TrialResult] = {}  # results that wait for an earlier trial
    told: list[TrialResult] = []
    suggested = 0

    def start() -> None:
        while ready and len(running) < workers:
            number, params = ready.popleft()
            running[submit(number, params)] = number

    def take_in() -> None:
        done = wait(running, return_when=FIRST_COMPLETED).done
        landed = {running.pop(future): future for future in sorted(done, key=running.__getitem__)}
        start()  # first, so that a free worker does not wait for on_finished
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
    """The `top` successful trials with the lowest loss, best first. Of equal trials the earlier comes first."""
    return sorted((r for r in results if r.status == "ok"), key=lambda r: (r.known_loss, r.number))[:top]


def _stalled(told: list[TrialResult], stop_after: int) -> bool:
    if not stop_after:
        return False
    last_best = best(told)[0].number if best(told) else -1
    return len(told) - 1 - last_best >= stop_after


def _plain(value: Any, digits: int | None) -> Any:
    """A suggested value as a plain Python value. A real number is rounded to `digits` significant digits."""
    plain = value.item() if isinstance(value, np.generic) else value
    return float(f"{plain:.{digits}g}") if digits and isinstance(plain, float) else plain
