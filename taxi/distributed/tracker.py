"""XGBoost's tracker, through which the members of a shared fit connect: on this machine or a cluster's scheduler.

It is a process of its own. One that is stopped in another's may go on waiting, with the members that it has heard of:
XGBoost closes what it listens at, and if it is not listening at that moment it then listens at nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from search.engines.cluster import Cluster
from search.engines.error import EngineError

if TYPE_CHECKING:
    from subprocess import Popen

    from distributed import Scheduler

    # XGBoost's own words for how to join are whatever it gives: Any.
    Start: TypeAlias = Callable[[int, str], tuple[Popen[bytes], dict[str, Any]]]
    Stop: TypeAlias = Callable[[Popen[bytes]], None]

# That members wait for the last of them, to join or to add up; of one that dies the others hear at once.
PATIENCE_SECONDS = 1800
# It ends when the fit does, or with the process that started it.
SCRIPT = """
import json, os, sys, threading

sys.modules["sklearn"] = None  # which XGBoost would import, for a second
from xgboost.tracker import RabitTracker

members, host, timeout = json.loads(sys.argv[1])
# Sorted by task: who is which number does not depend on the machines or on who comes first.
tracker = RabitTracker(n_workers=members, host_ip=host, sortby="task", timeout=timeout)
tracker.start()
print(json.dumps({**tracker.worker_args(), "dmlc_timeout": timeout}), flush=True)
nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 1), os.dup2(nowhere, 2)


def until_left():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=until_left, daemon=True).start()
try:
    tracker.wait_for()
finally:  # a member that died is the others' to tell
    os._exit(0)
"""


@contextmanager
def here(members: int) -> Iterator[dict[str, Any]]:
    """What members on this machine are given to join. Leaving ends the members that still wait for others."""
    start, stop = _functions()
    tracker, arguments = start(members, "127.0.0.1")
    try:
        yield arguments
    finally:
        stop(tracker)


@contextmanager
def on_scheduler(cluster: Cluster, members: int) -> Iterator[dict[str, Any]]:
    """The same for a cluster's workers: each of them reaches the scheduler. Raises EngineError."""
    start, stop = _functions()
    key = f"tracker-{uuid4().hex}"

    def begin(dask_scheduler: Scheduler) -> dict[str, Any]:
        from distributed.comm.addressing import get_address_host

        tracker, arguments = start(members, get_address_host(dask_scheduler.address))
        setattr(dask_scheduler, key, tracker)
        return arguments

    def end(dask_scheduler: Scheduler) -> None:
        stop(vars(dask_scheduler).pop(key))

    with cluster.errors(of_tasks=True):
        try:
            arguments: dict[str, Any] = cluster.client.run_on_scheduler(begin)
        except ImportError as error:
            raise EngineError(
                f"the Dask scheduler cannot let its workers share a fit: {error}\n"
                "Start it in the environment of this project's lock (docs/scale.md)."
            ) from error
    try:
        yield arguments
    finally:
        with cluster.errors():
            cluster.client.run_on_scheduler(end)


def _functions() -> tuple[Start, Stop]:
    """Start and stop of a tracker; made in here so that they travel by value, to a scheduler without our modules."""
    script, timeout = SCRIPT, PATIENCE_SECONDS

    def start(members: int, host: str) -> tuple[Popen[bytes], dict[str, Any]]:
        import json
        import sys
        from subprocess import PIPE, Popen

        command = [sys.executable, "-P", "-B", "-c", script, json.dumps([members, host, timeout])]
        tracker = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        if tracker.stdout and (line := tracker.stdout.readline()):
            return tracker, json.loads(line)
        said = tracker.communicate()[1].decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ImportError(said[-1]) if "ModuleNotFoundError" in said[-1] else RuntimeError(f"no tracker: {said[-1]}")

    def stop(tracker: Popen[bytes]) -> None:
        tracker.kill()
        tracker.communicate()

    return start, stop
