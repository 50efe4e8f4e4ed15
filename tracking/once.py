"""What MLflow does on the first use of an environment and of a database: one process at a time, here.

It looks whether they are there and then makes them, without a lock. Of two that begin together one fails, and then
deletes the environment that the other is installing into. `one_at_a_time` puts a lock around looking and making.
The launcher has a copy of this file: it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path


def lock_of(environment: str | Path) -> Path:
    """Beside the environment, which is not there yet; who holds it is building."""
    return Path(f"{environment}.lock")


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; while another process does, wait and say so. The kernel frees it of the killed.

    Where no lock can be had (a folder of somebody else's) there is none.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            for _ in range(10):  # what takes a moment is not worth a word
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.1)
            else:
                print(f"waiting: another process {what}", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def environments(module) -> None:
    """MLflow's builder, with uv or virtualenv, under the lock of the environment that it is asked for."""
    create = module._create_virtualenv

    @functools.wraps(create)
    def alone(*args, **kwargs):
        if not (folder := kwargs.get("env_dir")):
            return create(*args, **kwargs)
        with held(lock_of(folder), f"builds the environment {folder}"):
            return create(*args, **kwargs)

    module._create_virtualenv = alone


def databases(module) -> None:
    """MLflow's look at a database's tables, and their making, under the lock of that database."""
    exist, make = module._all_tables_exist, module._initialize_tables

    def lock(engine):
        name = hashlib.sha256(str(engine.url).encode()).hexdigest()[:32]
        return held(Path(tempfile.gettempdir(), f"mlflow-tables-{name}.lock"), "makes the tables of this database")

    @functools.wraps(exist)
    def looked(engine):
        with lock(engine):
            return exist(engine)

    @functools.wraps(make)
    def made(engine):
        with lock(engine):
            if not exist(engine):
                make(engine)

    module._all_tables_exist, module._initialize_tables = looked, made


CHANGES: dict[str, Callable] = {"mlflow.utils.virtualenv": environments, "mlflow.store.db.utils": databases}


class _WhenImported:
    """Changes MLflow's modules as they are imported; imports none."""

    mark = "changed_by_one_at_a_time"  # on a module: a launcher and a step may both ask for it

    def __init__(self):
        self.looking = False

    def find_spec(self, name: str, path=None, target=None):
        if name not in CHANGES or self.looking:
            return None
        self.looking = True
        spec = find_spec(name)
        self.looking = False
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if not hasattr(module, self.mark):
                setattr(module, self.mark, True)
                with contextlib.suppress(AttributeError):  # another MLflow, which does it in another way
                    CHANGES[name](module)

        spec.loader.exec_module = exec_module
        return spec


def one_at_a_time() -> None:
    """Let MLflow, which this process has not imported yet, make nothing for the first time beside another process."""
    sys.meta_path.insert(0, _WhenImported())
