"""One trial: its result, as numbers and as files of the saved model."""

import hashlib
import json
import re
import sys
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

Params: TypeAlias = dict[str, Any]  # hyperparameter -> number or text; hyperopt has no type for its values
Data = TypeVar("Data", contravariant=True)

DIED = "the worker died in every attempt (killed, out of memory, or the process ended itself)"
NOT_KEPT = frozenset({"files", "extra", "curves"})  # fields that are not part of the JSON record
ERROR_CHARS = 500  # characters of an error that are kept; the traceback has all of them


@dataclass(frozen=True)
class TrialResult:
    """The result of a finished trial.

    Two results of the same trial are equal: seconds, traceback, files, extra and curves are not compared.

    Parameters
    ----------
    number : int
        Number of the trial in its search, from 0.
    params : dict of str to Any
        Its hyperparameters.
    status : {"ok", "fail"}
        Whether it succeeded.
    loss : float, optional
        The value that the search minimizes (see `loss_of`). None if the trial failed.
    metrics : dict of str to float, optional
        All metrics by name.
    best_iteration : int, optional
        The best boosting round, for estimators that have rounds.
    model_digest : str, optional
        SHA-256, hex, of the names and contents of `files`.
    error : str, optional
        Why the trial failed, in one line.
    seconds : float, optional
        Time to fit, score and save, in seconds.
    traceback : str, optional
        The traceback of the error.
    files : dict of str to bytes, optional
        The files of the saved estimator, by relative path.
    extra : dict of str to float, optional
        Further numbers for the trial's page.
    curves : dict of str to Curve, optional
        Curves of the fit, by name.
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
        """The loss of a successful trial. Raises ValueError for a failed trial, because it has no loss."""
        if self.loss is None:
            raise ValueError(f"trial {self.number} failed: it has no loss")
        return self.loss

    @property
    def logged(self) -> dict[str, float]:
        """The numbers for the trial's page, by name."""
        rounds = {} if self.best_iteration is None else {"best_iteration": float(self.best_iteration)}
        return {**self.metrics, **self.extra, **rounds}

    def to_json(self) -> str:
        """The result as JSON, without files, extra and curves. Floats are kept exactly."""
        kept = {name: value for name, value in asdict(self).items() if name not in NOT_KEPT}
        return json.dumps(kept, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` returned. Raises ValueError for any other text: it may come from a stranger."""
        try:
            given = json.loads(text)
            if isinstance(given, dict) and given.keys() & NOT_KEPT:
                raise TypeError("it has more than it should")
            result = cls(**given)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not the result of a trial ({error})") from None
        scores = result.metrics.values() if isinstance(result.metrics, dict) else [None]
        numbers = [result.seconds, *([result.loss] if result.status == "ok" else []), *scores]
        texts = [result.model_digest, result.error, result.traceback]
        sound = (
            type(result.number) is int
            and result.number >= 0
            and isinstance(result.params, dict)
            and result.status in ("ok", "fail")
            and (result.best_iteration is None or type(result.best_iteration) is int)
            and all(text is None or isinstance(text, str) for text in texts)
        )
        if not sound or not all(_is_finite(value) for value in numbers):
            raise ValueError("not the result of a trial")
        return result


def _is_finite(value: float | None) -> bool:
    """Whether a JSON value is a number that a float can hold. A boolean is not; an integer may be too large."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def failed(number: int, params: Params, error: str, seconds: float = 0.0, trace: str | None = None) -> TrialResult:
    """The result of a trial that failed with `error`."""
    return TrialResult(number, params, "fail", error=error, seconds=seconds, traceback=trace)


def over_time(timeout: float) -> str:
    """The error of a trial that took more than `timeout` seconds, whether the fit or the engine stopped it."""
    return f"over trial_timeout={timeout:g} s"


class Metric(Protocol):
    """The metric by which trials are compared."""

    @property
    def name(self) -> str:
        """Such as ``val_rmse``."""
        ...

    @property
    def unit(self) -> str:
        """Empty for none."""
        ...

    @property
    def greater_is_better(self) -> bool:
        """True for a score, False for an error."""
        ...


def loss_of(metric: Metric, value: float) -> float:
    """The loss for a metric's value: the value itself for an error, its negative for a score. It is its own inverse."""
    return -value if metric.greater_is_better else value


class Objective(Protocol[Data]):
    """Runs one trial: ``objective(data, number, params)``. Each worker opens `data` once for many trials.

    An engine also reads two optional attributes: `timeout`, the seconds that a trial may take, and `modules`, the
    modules to import in advance.
    """

    def __call__(self, data: Data, number: int, params: Params, /) -> TrialResult: ...


def run_trial(objective: Objective[Data], data: Data, number: int, params: Params) -> TrialResult:
    """Call `objective(data, number, params)`. If it raises an exception, the result is that of a failed trial.

    Raises EngineError if the machine failed (disk, memory): another machine would give another result, so the search
    must end.
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
    """A context in which BLAS and OpenMP use one thread, so that parallel trials do not use more threads than cores."""
    from search.engines.thread_pools import POOLS  # once the libraries of the objective are loaded

    limited: AbstractContextManager[None] = POOLS.limit(limits=1)
    return limited


class Savable(Protocol):
    """An estimator that can be saved."""

    def save(self, folder: Path) -> None:
        """Write files into `folder`."""
        ...


def saved_files(estimator: Savable) -> dict[str, bytes]:
    """Relative path -> content of the files that `estimator.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        estimator.save(Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def estimator_folder(files: dict[str, bytes]) -> Iterator[Path]:
    """A temporary folder with `files`, from which a saved estimator can be loaded."""
    with tempfile.TemporaryDirectory(prefix="estimator-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)


def files_digest(files: dict[str, bytes]) -> str:
    """SHA-256, hex, of the names and contents of `files`. Their order does not matter."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def error_line(error: Exception) -> str:
    """Type and first line of an error. The times and addresses that XGBoost adds are removed, as they always differ."""
    text = next(iter(str(error).strip().splitlines()), "")
    text = re.sub(r"^\[\d\d:\d\d:\d\d\] ", "", text)
    return f"{type(error).__name__}: {re.sub(r'0x[0-9a-f]+', '0x', text)}"[:ERROR_CHARS]
