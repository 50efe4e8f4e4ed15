"""Trials for tests of the engines: cheap ones, and ones that misbehave at given numbers."""

import errno
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from search.trial import TrialResult, files_digest
from taxi.distributed.shared_fit import Member
from taxi.models.boosting import Boosting


def ten():
    """The data that these trials are given."""
    return 10


def no_memory():
    raise MemoryError


def no_data():
    raise FileNotFoundError("no such dataset")


@dataclass(frozen=True)
class Toy:
    """val_rmse = data + x * x, with one misbehaviour for each number named; `folder` is for those that leave traces."""

    folder: str = ""
    timeout: float | None = None
    raises: int = -1
    dies: int = -1  # always, by itself
    killed: int = -1  # always, as by the kernel when memory runs out
    dies_once: int = -1
    hangs: int = -1
    hangs_once: int = -1
    full_disk: int = -1
    seconds: float = 0.0  # that a trial takes; every third one five times as long
    meet: int = 0  # every trial waits until this many processes have started one
    modules = ("tests.support.objectives",)

    def __call__(self, data, number, params):
        trace = Path(self.folder) / f"{number}-{os.getpid()}-{time.monotonic_ns()}"
        if self.folder:
            trace.touch()
        if number == self.raises:
            raise ArithmeticError(f"no answer for {number}")
        if number == self.full_disk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/models")
        if number == self.dies:
            os._exit(3)
        if number == self.killed or (number == self.dies_once and len(starts(self.folder, number)) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.hangs or (number == self.hangs_once and len(starts(self.folder, number)) == 1):
            time.sleep(600)
        while self.meet and len({pid for _, pid in starts(self.folder)}) < self.meet:
            time.sleep(0.01)
        time.sleep(self.seconds * (1 if number % 3 else 5))
        value = data + params["x"] ** 2
        files = {"model": repr(params).encode()}
        digest = files_digest(files)
        return TrialResult(number, params, "ok", value, {"val_rmse": value}, 3, digest, files=files)


@dataclass(frozen=True)
class Troubled(Member):
    """A member of a shared fit; the one of number 1 raises, or dies in the middle of it, always or once."""

    folder: str = ""
    trouble: str = ""

    def __call__(self, data, number, params):
        Path(self.folder, f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if number == 1 and self.trouble == "raises":
            raise ArithmeticError("no answer")
        first = len(starts(self.folder, 1)) == 1
        if number == 1 and (self.trouble == "dies" or (self.trouble == "dies once" and first)):
            with patch.object(Boosting, "fit", dying):
                return super().__call__(data, number, params)
        return super().__call__(data, number, params)


def dying(self, *arguments, fit=Boosting.fit, **options):
    """A fit, all members of which have joined, whose process is gone before it ends."""
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return fit(self, *arguments, **options)


def starts(folder, number=None):
    """(number, process id) of every start that a Toy left a trace of, in order of time."""
    traces = sorted((tuple(map(int, path.name.split("-"))) for path in Path(folder).iterdir()), key=lambda t: t[2])
    return [(n, pid) for n, pid, _ in traces if number in (None, n)]
