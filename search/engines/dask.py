"""A Dask cluster: the same trials on its workers, with our code and the dataset brought there."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import cloudpickle

from search.engines.cluster import connected
from search.engines.engine import Engine, WorkerDied
from search.engines.error import EngineError
from search.trial import Data, Objective, Params, TrialResult, run_trial


class DaskEngine(Engine):
    """`objective(load(), number, params)` on the workers of the scheduler at `address`, ``host:port``.

    One trial at a time in each worker process, `workers=0` for as many as there are. `load` is a task: when the
    workers that hold its result die, Dask runs it again. Dask tries a task on four workers before it gives it up
    (`distributed.scheduler.allowed-failures` is 3), and so do we again, since it also blames those that waited beside.
    Raises EngineError for a cluster that is not there, has no workers, or has other versions than we have.
    """

    attempts = 2

    def __init__(
        self,
        address: str,
        objective: Objective[Data],
        load: Callable[[], Data],
        workers: int = 0,
        most: int | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        self.client, self._call = connected(address, packages)
        self._trial = partial(run_trial, objective)
        self._key = f"load-{uuid4().hex}"
        self._data = self.client.submit(self._call, cloudpickle.dumps(load), key=self._key)
        self._busy: Counter[str | None] = Counter()
        self._lock = threading.Lock()
        super().__init__(objective, workers or max(1, len(self.client.nthreads())), most)

    def run(self, number: int, params: Params) -> TrialResult:
        from distributed import KilledWorker

        with self._worker() as place:
            future = self.client.submit(
                self._call,
                cloudpickle.dumps(self._trial),
                self._data,
                number,
                params,
                key=f"trial-{number}-{uuid4().hex}",
                **place,
            )
            try:
                result: TrialResult = future.result()
                return result
            except KilledWorker as error:
                if error.task == self._key:
                    raise EngineError("workers die while they load the dataset\nGive them more memory.") from error
                raise WorkerDied from None

    @contextmanager
    def _worker(self) -> Iterator[dict[str, str | bool]]:
        """Where to run, for `submit`: the worker with the least of our trials, anywhere once it is gone.

        Dask by itself sends a task where its data lies: all of them to the one worker that loaded the dataset.
        """
        with self._lock:
            worker = min(sorted(self.client.nthreads()), key=self._busy.__getitem__, default=None)
            self._busy[worker] += 1
        try:
            yield {"workers": worker, "allow_other_workers": True} if worker else {}
        finally:
            with self._lock:
                self._busy[worker] -= 1

    def stop(self) -> None:
        self.client.close()
