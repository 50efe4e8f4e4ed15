"""Worker processes on this machine: started once, data opened once, one trial at a time in each."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from types import ModuleType

from runtime.cores import cores
from runtime.machine_errors import machine_error
from search.engines.engine import Engine, WorkerDied
from search.engines.error import EngineError
from search.trial import Data, Objective, Params, TrialResult, failed, over_time, run_trial

GRACE_SECONDS = 5.0  # a fit looks at its own deadline; one that has not for this long after it is ended from outside
_starting = threading.Lock()  # held while __main__ is another


class LocalEngine(Engine):
    """`objective(load(), number, params)` in worker processes, `workers=0` for as many as there are cores.

    Workers are forked from a small server process that imports `objective.modules` once: nothing is forked from this
    process with its threads, and a new worker in place of a dead one costs milliseconds. They end with this process,
    whatever ends it.
    """

    def __init__(
        self,
        objective: Objective[Data],
        load: Callable[[], Data],
        workers: int = 0,
        most: int | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        super().__init__(objective, workers or cores(), most)
        self._timeout: float | None = getattr(objective, "timeout", None)  # seconds
        self._grace = grace
        self._context = prepare(getattr(objective, "modules", ()))
        self._load = load
        self._closed = threading.Event()
        self._workers: set[_Worker] = set()
        self._mine = threading.local()  # .worker: the one that belongs to this waiting thread

    def run(self, number: int, params: Params) -> TrialResult:
        worker: _Worker = getattr(self._mine, "worker", None) or self._start()
        limit = None if self._timeout is None else self._timeout + self._grace
        self._mine.worker = None  # until it has answered
        try:
            result = worker.run(number, params, limit)
        except (WorkerDied, TimeoutError) as error:
            worker.end()
            self._workers.discard(worker)
            if self._closed.is_set():
                raise CancelledError from None
            if isinstance(error, TimeoutError) and self._timeout is not None and limit is not None:
                return failed(number, params, over_time(self._timeout), limit)
            raise
        self._mine.worker = worker
        return result

    def _start(self) -> "_Worker":
        worker = _Worker(self._context, self.objective, self._load)
        self._workers.add(worker)
        if self._closed.is_set():
            worker.end()
        return worker

    def stop(self) -> None:
        self._closed.set()
        for worker in list(self._workers):
            worker.end()


def prepare(modules: Sequence[str]) -> ForkServerContext:
    """Start the process that workers are forked from; returns at once, while it imports `modules` in the background.

    Worth calling as soon as it is known that there will be trials: the imports take seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *modules, "search.engines.thread_pools"])
    forkserver.ensure_running()
    return context


@contextmanager
def _main_left_out() -> Iterator[None]:
    """Start processes that do not import what this one runs as its main module.

    multiprocessing lets every child import it. Ours need nothing of it, and a step's imports a command line and looks
    at all installed packages: a third of a second of a core for each worker.
    """
    with _starting:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Worker:
    """One worker process, as seen from the parent."""

    def __init__(self, context: ForkServerContext, objective: Objective[Data], load: Callable[[], Data]) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, objective, load), daemon=True)
        with _main_left_out():
            self._process.start()
        theirs.close()  # the only other end is the worker's: its death is our end of file
        self._ready = False

    def run(self, number: int, params: Params, limit: float | None) -> TrialResult:
        """Raises WorkerDied, TimeoutError after `limit` seconds, EngineError for what the machine did.

        RuntimeError when the data could not be opened.
        """
        try:
            if not self._ready:
                problem: EngineError | str | None = self._connection.recv()
                if isinstance(problem, EngineError):
                    raise problem
                if problem:
                    raise RuntimeError(f"a worker could not open its data:\n{problem}")
                self._ready = True
            self._connection.send((number, params))
            if self._connection.poll(limit):
                answer: TrialResult | EngineError = self._connection.recv()
                if isinstance(answer, EngineError):
                    raise answer
                return answer
        except (EOFError, OSError):
            self._process.join()
            raise WorkerDied(self._process.exitcode == -signal.SIGKILL) from None
        raise TimeoutError

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, objective: Objective[Data], load: Callable[[], Data]) -> None:
    """A worker's life: open the data, then trials until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        data = load()
    except Exception as error:
        line = machine_error(error)
        connection.send(EngineError(line) if line else traceback.format_exc())
        return
    try:
        connection.send(None)
        while True:
            connection.send(_answer(objective, data, *connection.recv()))
    except (EOFError, OSError):
        return


def _answer(objective: Objective[Data], data: Data, number: int, params: Params) -> TrialResult | EngineError:
    try:
        return run_trial(objective, data, number, params)
    except EngineError as error:
        return error


def _end_with_parent() -> None:
    """A long fit would not notice that nobody waits for it any more."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
    os._exit(1)
