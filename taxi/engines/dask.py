"""A Dask cluster: the same trials on its workers, with our code and the dataset brought there."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import cloudpickle

from taxi.engines.engine import Engine, EngineError, WorkerDied
from taxi.engines.shipping import PLUGIN, archive, caller, plugin
from taxi.engines.versions import PACKAGES, differences, reader
from taxi.trials import TrialResult, run_trial

CONNECT_SECONDS = 10  # a scheduler that is there answers in milliseconds


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
        objective: Callable,
        load: Callable[[], Any],
        workers: int = 0,
        most: int | None = None,
        packages: Sequence[str] = ("taxi",),
    ) -> None:
        self._client = _connected(address)
        try:
            present = len(self._client.nthreads())
            if not present:
                raise EngineError(
                    f"the Dask cluster at {address} has no workers\n"
                    f"Start some: dask worker tcp://{address} --nworkers 2 --nthreads 1"
                )
            self._compare_versions()
            name, content = archive(packages)
            self._client.register_plugin(plugin(name, content, packages), name=PLUGIN)
            self._call = caller(name)
            self._trial = partial(run_trial, objective)
            self._key = f"load-{uuid4().hex}"
            self._data = self._client.submit(self._call, cloudpickle.dumps(load), key=self._key)
        except BaseException:
            self._client.close()
            raise
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()
        super().__init__(objective, workers or present, most)

    def run(self, number: int, params: dict[str, Any]) -> TrialResult:
        from distributed import KilledWorker

        with self._worker() as place:
            future = self._client.submit(
                self._call,
                cloudpickle.dumps(self._trial),
                self._data,
                number,
                params,
                key=f"trial-{number}-{uuid4().hex}",
                **place,
            )
            try:
                return future.result()
            except KilledWorker as error:
                if error.task == self._key:
                    raise EngineError("workers die while they load the dataset\nGive them more memory.") from error
                raise WorkerDied from None

    @contextmanager
    def _worker(self):
        """Where to run, for `submit`: the worker with the least of our trials, anywhere once it is gone.

        Dask by itself sends a task where its data lies: all of them to the one worker that loaded the dataset.
        """
        with self._lock:
            worker = min(sorted(self._client.nthreads()), key=self._busy.__getitem__, default=None)
            self._busy[worker] += 1
        try:
            yield {"workers": worker, "allow_other_workers": True} if worker else {}
        finally:
            with self._lock:
                self._busy[worker] -= 1

    def _compare_versions(self) -> None:
        read = reader()
        different = differences(read(PACKAGES), self._client.run(read, PACKAGES))
        if different:
            raise EngineError(
                f"{len(different)} Dask workers would not give the same results: {'; '.join(different[:3])}\n"
                "Start them in the environment of this project's lock (docs/scale.md)."
            )

    def stop(self) -> None:
        self._client.close()


def _connected(address: str):
    from distributed import Client

    try:
        return Client(f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False, name="nyc-taxi-duration")
    except OSError as error:
        raise EngineError(
            f"no Dask scheduler answers at {address}: {error}\n"
            "Start one: dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard"
        ) from None
