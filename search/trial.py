"""One trial: its result, as numbers and as the files of the saved model."""

import hashlib
import json
import math
import re
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar

from runtime.machine_errors import machine_error
from search.curves import Curve
from search.engines.error import EngineError

Params: TypeAlias = dict[str, Any]  # numbers and words by hyperparameter; hyperopt has no type for its values
Data = TypeVar("Data", contravariant=True)

DIED = "the worker died in every attempt (killed, out of memory, or the process ended itself)"
NOT_KEPT = frozenset({"files", "extra", "curves"})  # what no result has that was read from a record
ERROR_CHARS = 500  # longest error text kept: a line or two; the traceback says the rest


@dataclass(frozen=True)
class TrialResult:
    """What is known of a finished trial. Equal whenever the trial is: times, tracebacks, files and curves do not count.

    loss: what a search makes small (see `loss_of`), None if the trial failed. metrics: all that was measured, by name.
    model_digest: SHA-256 over names and bytes of `files`, the saved estimator. seconds: fitting, scoring and saving.
    extra, curves: more numbers for the trial's page, and how its fit went, by name.
    """

    number: int
    params: Params
    status: Literal["ok", "fail"]
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    best_iteration: int | None = None
    model_digest: str | None = None
    error: str | None = None
    seconds: float = field(default=0.0, compare=False)
    traceback: str | None = field(default=None, compare=False, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    extra: dict[str, float] = field(default_factory=dict, compare=False, repr=False)
    curves: dict[str, Curve] = field(default_factory=dict, compare=False, repr=False)

    @property
    def known_loss(self) -> float:
        """The loss of a finished trial. Raises ValueError for a failed one, which has none."""
        if self.loss is None:
            raise ValueError(f"trial {self.number} failed: it has no loss")
        return self.loss

    @property
    def logged(self) -> dict[str, float]:
        """Numbers by name that belong on the trial's page."""
        rounds = {} if self.best_iteration is None else {"best_iteration": float(self.best_iteration)}
        return {**self.metrics, **self.extra, **rounds}

    def to_json(self) -> str:
        """All but the files and what only its page shows; floats survive exactly."""
        kept = {name: value for name, value in asdict(self).items() if name not in NOT_KEPT}
        return json.dumps(kept, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for anything but what `to_json` gives: the text may come from anybody."""
        try:
            given = json.loads(text)
            if isinstance(given, dict) and given.keys() & NOT_KEPT:
                raise TypeError("it has more than it should")
            result = cls(**given)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not the result of a trial ({error})") from None
        scores = result.metrics.values() if isinstance(result.metrics, dict) else [None]
        numbers = [result.seconds, *([result.loss] if result.status == "ok" else []), *scores]
        sound = type(result.number) is int and isinstance(result.params, dict) and result.status in ("ok", "fail")
        if not sound or not all(_is_finite(value) for value in numbers):
            raise ValueError("not the result of a trial")
        return result


def _is_finite(value: float | None) -> bool:
    """Of what JSON gave: a number, neither true nor false, and not infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def failed(number: int, params: Params, error: str, seconds: float = 0.0, trace: str | None = None) -> TrialResult:
    """A trial without a result, and why."""
    return TrialResult(number, params, "fail", error=error, seconds=seconds, traceback=trace)


def over_time(timeout: float) -> str:
    """What a trial that took more than `timeout` seconds is recorded with, whether the fit or the engine stopped it."""
    return f"over trial_timeout={timeout:g} s"


class Metric(Protocol):
    """The metric by which trials are compared."""

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str:
        """Empty for none."""
        ...

    @property
    def greater_is_better(self) -> bool: ...


def loss_of(metric: Metric, value: float) -> float:
    """What a search makes small, from the metric's value: an error itself, a score with its sign turned. And back."""
    return -value if metric.greater_is_better else value


class Objective(Protocol[Data]):
    """What every trial of a search does with its number and parameters, on data that is opened once for many.

    An engine also looks for `timeout`, seconds that a trial may take, and for `modules` to import in advance.
    """

    def __call__(self, data: Data, number: int, params: Params, /) -> TrialResult: ...


def run_trial(objective: Objective[Data], data: Data, number: int, params: Params) -> TrialResult:
    """`objective(data, number, params)`; what it raises is a failed trial, not the end of the search.

    What the machine did is no result: it would be another one elsewhere, so it ends the search. Raises EngineError.
    """
    start = time.monotonic()
    try:
        return objective(data, number, params)
    except EngineError:
        raise
    except Exception as error:
        if line := machine_error(error):
            raise EngineError(f"trial {number}: {line}") from None
        return failed(number, params, error_line(error), time.monotonic() - start, traceback.format_exc())


def one_thread() -> AbstractContextManager[None]:
    """A context in which BLAS and OpenMP use one thread: trials run side by side, never more threads than cores."""
    from search.engines.thread_pools import POOLS  # once the libraries of the objective are loaded

    limited: AbstractContextManager[None] = POOLS.limit(limits=1)
    return limited


class Savable(Protocol):
    """An estimator that can be written."""

    def save(self, folder: Path) -> None: ...


def saved_files(estimator: Savable) -> dict[str, bytes]:
    """The files that `estimator.save` writes, by name."""
    with tempfile.TemporaryDirectory() as folder:
        estimator.save(Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def estimator_folder(files: dict[str, bytes]) -> Iterator[Path]:
    """A folder with `files`, from which `load` takes the estimator that was saved."""
    with tempfile.TemporaryDirectory(prefix="estimator-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)


def files_digest(files: dict[str, bytes]) -> str:
    """SHA-256 (hex) over the names and contents of `files`, whatever their order."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def error_line(error: Exception) -> str:
    """Type and first line, without the clock and the addresses that XGBoost adds: the same on every machine."""
    text = next(iter(str(error).strip().splitlines()), "")
    text = re.sub(r"^\[\d\d:\d\d:\d\d\] ", "", text)
    return f"{type(error).__name__}: {re.sub(r'0x[0-9a-f]+', '0x', text)}"[:ERROR_CHARS]
