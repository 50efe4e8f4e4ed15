"""The common parts of model families: typed parameters, a search space with units, and a deadline."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

Progress = Callable[[int, int], None]  # done, to do
Curves = Mapping[str, Sequence[float]]  # name -> a value for each round; on the training trips and on validation


class ParamsError(ValueError):
    """A hyperparameter that the family does not have, or a value outside its range."""


class ModelError(ValueError):
    """A folder that does not hold the saved model it should."""


class TrialTimeout(RuntimeError):
    """A fit that went over its deadline."""


def check_deadline(deadline: float | None) -> None:
    """Raise TrialTimeout when `time.monotonic()` is past `deadline` (seconds on that clock)."""
    if deadline is not None and time.monotonic() > deadline:
        raise TrialTimeout("the fit went over its deadline; give more time or search smaller models")


@dataclass(frozen=True)
class Range:
    """The values that a hyperparameter may take, both ends in; whole numbers where `low` is an int."""

    low: float
    high: float
    unit: str = ""

    def accept(self, family: str, name: str, value: Any) -> float | int:
        """`value`, which a user may have given in any form, as a number of this range. Raises ParamsError."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and isinstance(self.low, int) and float(value).is_integer():
            value = int(value)
        if number and isinstance(value, int | type(self.low)) and self.low <= value <= self.high:
            return type(self.low)(value)
        kind = "a whole number" if isinstance(self.low, int) else "a number"
        raise ParamsError(f"{family}: {name}={value!r} is not {kind} from {self.low:g} to {self.high:g}")


@dataclass(frozen=True)
class Params:
    """Base of the families' frozen dataclasses: `ranges` has one entry for each field."""

    family: ClassVar[str]
    ranges: ClassVar[Mapping[str, Range | tuple[str, ...]]]

    def __post_init__(self) -> None:
        for field in fields(self):
            allowed, value = self.ranges[field.name], getattr(self, field.name)
            if isinstance(allowed, Range):
                object.__setattr__(self, field.name, allowed.accept(self.family, field.name, value))
            elif value not in allowed:
                raise ParamsError(f"{self.family}: {field.name}={value!r} is not one of {', '.join(allowed)}")

    @classmethod
    def parse(cls, values: Mapping[str, Any], defaults: Self | None = None) -> Self:
        """`values` over `defaults`; a whole float (TPE's 12.0) is taken for the int. Raises ParamsError."""
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ParamsError(f"{cls.family} has no parameter {', '.join(unknown)}; it has {', '.join(names)}")
        return cls(**{**(asdict(defaults) if defaults else {}), **values})

    def as_dict(self) -> dict[str, Any]:
        """Hyperparameter -> value."""
        return asdict(self)


def read_json(path: Path) -> Any:
    """Raises ModelError when the file is absent or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.parent} is not a saved model: {path.name} cannot be read ({error})") from None
