"""A Dask cluster on loopback: a scheduler and two workers, processes of their own in a folder without our code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.engines import shipping
from search.engines.cluster import scheduler
from search.engines.shipping import Code


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    """The engine, ``dask://host:port``, of a scheduler that gives a task up after two deaths."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1", "OMP_NUM_THREADS": "1"}
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(folder / "scheduler.json")]
    workers = ["--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder)]
    with (
        process("scheduler", "--port", "0", "--idle-timeout", "120", *here, cwd=folder, env=environment),
        process("worker", *workers, *here, cwd=folder, env=environment),
    ):
        yield engine_in(folder / "scheduler.json", workers=2)


def code_of(*packages: str) -> Code:
    """All of `packages`, beside what the engine itself is made of."""
    found = [path for package in (*packages, "search", "runtime") for path in (shipping.ROOT / package).rglob("*.py")]
    return Code("tests", tuple(path.relative_to(shipping.ROOT).as_posix() for path in found))


@contextmanager
def process(*arguments: str, **options) -> Iterator[None]:
    """A dask command that is killed, with all the processes it made, when the block ends."""
    command = [sys.executable, "-m", "dask", *arguments]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, **options) as leader:
        try:
            yield
        finally:
            os.killpg(leader.pid, signal.SIGKILL)


def engine_in(file: Path, workers: int) -> str:
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    engine = json.loads(file.read_text())["address"].replace("tcp://", "dask://")
    wait_for(engine, workers)
    return engine


def wait_for(engine: str, workers: int) -> None:
    """Until the cluster has so many."""
    from distributed import Client

    with Client(scheduler(engine), set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)


def kill_a_worker(engine: str) -> int:
    """kill -9 of the process of one worker, which its nanny then replaces; its process id."""
    from distributed import Client

    with Client(scheduler(engine), set_as_default=False) as client:
        pid = min(client.run(os.getpid).values())
    os.kill(pid, signal.SIGKILL)
    return pid
