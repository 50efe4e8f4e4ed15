"""A Dask cluster: the same trials on its workers, with our code and the dataset brought there."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from search.engines.cluster import Cluster
from search.engines.engine import Engine, WorkerDied
from search.engines.error import EngineError
from search.engines.shipping import Code
from search.trial import Data, Objective, Params, TrialResult, run_trial

if TYPE_CHECKING:
    from distributed import Future as Task

LOOK_SECONDS = 2  # between two looks at which workers there are


class DaskEngine(Engine):
    """`objective(load(), number, params)` on the workers of `engine`, ``dask://host:port``, with `code` brought there.

    One trial at a time in each worker process, `workers=0` for as many as there are. `load` is a task: when the
    workers that hold its result die, Dask runs it again. Dask tries a task on four workers before it gives it up
    (`distributed.scheduler.allowed-failures` is 3), and so do we again, since it also blames those that waited beside.
    Raises EngineError as `Cluster` does.
    """

    attempts = 2

    def __init__(
        self,
        engine: str,
        objective: Objective[Data],
        load: Callable[[], Data],
        code: Code,
        workers: int = 0,
        most: int | None = None,
    ) -> None:
        self.cluster = Cluster(engine, code)
        self._trial = partial(run_trial, objective)
        self._key = f"load-{uuid4().hex}"
        self._data = self.cluster.submit(load, key=self._key)
        self._busy: Counter[str | None] = Counter()
        self._lock = threading.Lock()
        self._workers, self._looked = self.cluster.workers(), time.monotonic()
        super().__init__(objective, workers or max(1, len(self._workers)), most)

    def run(self, number: int, params: Params) -> TrialResult:
        with self._worker(LOOK_SECONDS) as worker:
            return self._result(self._submitted(number, params, worker, allow_other_workers=True))

    def once(self, number: int, params: Params) -> Future[TrialResult]:
        """On one worker and no other: Dask would run it again elsewhere when the worker is gone."""
        return self._threads.submit(self._run_there, number, params)

    def _run_there(self, number: int, params: Params) -> TrialResult:
        with self._worker(age=0) as worker:
            future, ended = self._submitted(number, params, worker), threading.Event()
            future.add_done_callback(lambda _: ended.set())
            while not ended.wait(LOOK_SECONDS):
                if worker not in self.cluster.workers():
                    future.cancel()
                    raise WorkerDied
            return self._result(future)

    def _submitted(self, number: int, params: Params, worker: str | None, **options: bool) -> "Task[TrialResult]":
        place = {"workers": worker, **options} if worker else {}
        return self.cluster.submit(
            self._trial, self._data, number, params, key=f"trial-{number}-{uuid4().hex}", **place
        )

    def _result(self, future: "Task[TrialResult]") -> TrialResult:
        from distributed import KilledWorker

        try:
            result: TrialResult = self.cluster.result(future)
            return result
        except KilledWorker as error:
            if error.task == self._key:
                raise EngineError("workers die while they load the dataset\nGive them more memory.") from error
            raise WorkerDied from None

    def _look(self, age: float) -> None:
        """Know the workers as they were `age` seconds ago, or later: asking takes a round trip, and trials wait."""
        if time.monotonic() - self._looked > age:
            self._workers, self._looked = self.cluster.workers(), time.monotonic()

    @contextmanager
    def _worker(self, age: float) -> Iterator[str | None]:
        """Where to run: the worker with the least of our trials; None, for anywhere, while there is none.

        Dask by itself sends a task where its data lies: all of them to the one worker that loaded the dataset.
        """
        self._look(age)
        with self._lock:
            worker = min(self._workers, key=self._busy.__getitem__, default=None)
            self._busy[worker] += 1
        try:
            yield worker
        finally:
            with self._lock:
                self._busy[worker] -= 1

    def stop(self) -> None:
        self.cluster.close()
