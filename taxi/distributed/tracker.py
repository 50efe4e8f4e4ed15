"""XGBoost's tracker, through which the members of a shared fit connect: on this machine or a cluster's scheduler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from search.engines.cluster import Cluster
from search.engines.error import EngineError

if TYPE_CHECKING:
    from distributed import Scheduler
    from xgboost.tracker import RabitTracker

# XGBoost's own words for how to join are whatever it gives: Any.
Start: TypeAlias = "Callable[[int, str, int], tuple[RabitTracker, dict[str, Any]]]"
Stop: TypeAlias = "Callable[[RabitTracker], None]"

# That members wait for the last of them, to join or to add up; of one that dies the others hear at once.
PATIENCE_SECONDS = 1800


@contextmanager
def here(members: int) -> Iterator[dict[str, Any]]:
    """What members on this machine are given to join. Leaving ends the members that still wait for others."""
    start, stop = _functions()
    tracker, arguments = start(members, "127.0.0.1", PATIENCE_SECONDS)
    try:
        yield arguments
    finally:
        stop(tracker)


@contextmanager
def on_scheduler(cluster: Cluster, members: int) -> Iterator[dict[str, Any]]:
    """The same for a cluster's workers: each of them reaches the scheduler. Raises EngineError."""
    start, stop = _functions()
    key = f"tracker-{uuid4().hex}"

    def begin(dask_scheduler: "Scheduler") -> dict[str, Any]:
        from distributed.comm.addressing import get_address_host

        tracker, arguments = start(members, get_address_host(dask_scheduler.address), PATIENCE_SECONDS)
        setattr(dask_scheduler, key, tracker)
        return arguments

    def end(dask_scheduler: "Scheduler") -> None:
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

    def start(members: int, host: str, timeout: int) -> "tuple[RabitTracker, dict[str, Any]]":
        from threading import Thread

        from xgboost.tracker import RabitTracker

        # Sorted by task: who is which number does not depend on the machines or on who comes first.
        tracker = RabitTracker(n_workers=members, host_ip=host, sortby="task", timeout=timeout)
        tracker.start()
        arguments = {**tracker.worker_args(), "dmlc_timeout": timeout}
        Thread(target=waited, args=(tracker,), daemon=True).start()
        return tracker, arguments

    def waited(tracker: "RabitTracker") -> None:
        from contextlib import suppress

        from xgboost.core import XGBoostError

        with suppress(XGBoostError):  # a member that died, or `stop`
            tracker.wait_for()

    def stop(tracker: "RabitTracker") -> None:
        from contextlib import suppress

        from xgboost.core import XGBoostError

        with suppress(XGBoostError):  # members were still waiting for the others, who never came
            tracker.free()

    return start, stop
