"""Test a logged model in a process that cannot import the project's code, as on a server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

SECONDS = 300  # for a start and an answer that take two, on a machine that has much else to do
# In isolated mode neither the working folder nor PYTHONPATH is searched; no bytecode is left beside a model's code.
ISOLATED = ("-I", "-B")
SCRIPT = """
import json, sys
import mlflow.pyfunc
import pandas as pd

asked = json.loads(sys.stdin.readline() or sys.exit())
model = mlflow.pyfunc.load_model(asked["model"])
trips = pd.DataFrame(asked["trips"])
for name in asked["times"]:
    trips[name] = pd.to_datetime(trips[name])
answers = model.predict(trips)
sys.stdout.write("\\n" + json.dumps({name: answers[name].tolist() for name in answers}))
"""


def _same(found: list[float | str | None], expected: np.ndarray) -> bool:
    """Whether a column of answers is the expected one: numbers to the last bit, else text."""
    if expected.dtype == object:
        return found == expected.tolist()
    return np.array_equal(np.asarray(found, dtype=float), expected, equal_nan=True)


class ServingError(ValueError):
    """A logged model gives other answers than before it was logged."""


class Served:
    """While open, a process that waits for one model; what it imports meanwhile takes no time from the caller."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="served-")
        self._errors = Path(self._folder.name, "stderr")

    def __enter__(self) -> Served:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *ISOLATED, "-c", SCRIPT],
                cwd=self._folder.name,
                env=kept | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        return self

    def ask(self, model: Path, trips: pd.DataFrame) -> None:
        """Have the model in folder `model` answer `trips`; `check` waits for it."""
        alone = shutil.copytree(model, Path(self._folder.name, "model"))
        times = [name for name in trips if pd.api.types.is_datetime64_any_dtype(trips[name])]
        plain = trips.assign(**{name: trips[name].astype(str) for name in times}).to_dict("list")
        self._asked = json.dumps({"model": str(alone), "trips": plain, "times": times}).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # it ended already; `check` says why
            if self._process.stdin is None:
                raise ServingError("the process that is to answer has nothing to read from")
            self._process.stdin.write(self._asked)
            self._process.stdin.flush()

    def check(self, expected: Mapping[str, np.ndarray]) -> None:
        """Raise ServingError unless the answers were these, each of shape (n,), to the last bit."""
        try:
            answered, _ = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise ServingError(f"the model gave no answer in {SECONDS} seconds{_NEXT}") from None
        if self._process.returncode:
            said = self._errors.read_text(errors="replace").strip().splitlines() or ["nothing was said"]
            raise ServingError(f"the model cannot be loaded outside the project: {said[-1]:.300}{_NEXT}")
        found = json.loads(answered.splitlines()[-1])
        same = found.keys() == expected.keys() and all(_same(found[name], column) for name, column in expected.items())
        if not same:
            raise ServingError(f"the model answers {found} outside the project, and {dict(expected)} in it{_NEXT}")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        self._folder.cleanup()


_NEXT = "\n Nothing was registered. Run again with --env-manager uv, so that the environment is the lock's."
