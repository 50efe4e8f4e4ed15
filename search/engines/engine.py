"""What every engine shares: a waiting thread for each trial that runs, around the one call that is the engine's own."""

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from search.engines.error import EngineError
from search.trial import DIED, Objective, Params, TrialResult, failed

_MEMORY = (
    ", by hand or because memory ran out\n Give it more, or fewer workers, and run again: finished trials are kept."
)


class WorkerDied(Exception):
    """The process that ran a trial is gone; nothing is known about the trial.

    killed: by SIGKILL from outside, as the kernel does when memory runs out.
    """

    def __init__(self, killed: bool = False) -> None:
        super().__init__()
        self.killed = killed


class Engine(ABC):
    """Runs trials, at most `workers` at a time. `with` it: leaving ends whatever still runs."""

    attempts = 3  # a worker may die of another process's memory: the kernel kills the largest one

    def __init__(self, objective: Objective[Any], workers: int, most: int | None = None) -> None:
        """`most`: trials that can ever run at once; a worker more would only wait.

        The engine never looks at the data, so its type is Any here.
        """
        self.objective, self.workers = objective, workers if most is None else min(workers, most)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="trial")

    def submit(self, number: int, params: Params) -> Future[TrialResult]:
        """Start a trial. A worker that dies under it costs an attempt; after `attempts` the trial alone has failed.

        EngineError, which ends the search, when it was killed in each: with more memory the trial has a result, and
        running the search again must find it, not a failure of this machine at this moment.
        """
        return self._threads.submit(self._run, number, params)

    def once(self, number: int, params: Params) -> Future[TrialResult]:
        """The same in one attempt: for what several do together, so that none is tried again alone. Or WorkerDied."""
        return self._threads.submit(self.run, number, params)

    def _run(self, number: int, params: Params) -> TrialResult:
        killed = True
        for _ in range(self.attempts):
            try:
                return self.run(number, params)
            except WorkerDied as death:
                killed = killed and death.killed
        if killed:
            raise EngineError(f"trial {number}: its worker was killed {self.attempts} times, {_MEMORY}")
        return failed(number, params, DIED)

    @abstractmethod
    def run(self, number: int, params: Params) -> TrialResult:
        """The result, waited for. Raises WorkerDied."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs, so that every waiting `run` returns or raises."""

    def close(self) -> None:
        """End what runs and wait for the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.stop()
        self._threads.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
