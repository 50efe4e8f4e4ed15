"""One difference between two records, as data, and the sentences that describe it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from provenance.record.packages import ABSENT
from provenance.record.problem import SHORT, Problem
from provenance.record.validation import one_line


class Category(StrEnum):
    """What may have changed a result, the most likely cause first.

    The last three are unlikely causes. An environment manager only installs what the lock says. A package beside the
    lock is not imported. Code that is not part of a key does not compute results.
    """

    DATA = "data"
    CODE = "code"
    PARAMETERS = "parameters"
    PACKAGES = "packages"
    PYTHON = "python"
    PLATFORM = "platform"
    CPU = "cpu"
    THREADS = "threads"
    MANAGER = "manager"
    BESIDE_THE_LOCK = "beside the lock"
    CODE_BESIDE_THE_KEY = "code beside the key"

    @property
    def rank(self) -> int:
        """The place in the order of likelihood; 0 is the most likely cause."""
        return _RANKS[self]


_RANKS = {category: rank for rank, category in enumerate(Category)}


class DifferenceKind(Enum):
    """What differs. Each kind has a name for JSON, a category, and the words that come before the two values."""

    DAMAGE = ("damage", Category.DATA, "{subject}: ")  # damage of an output of one of the two runs
    EXTERNAL_INPUT = ("external input", Category.DATA, "{noun} {subject} sha256 ")  # no step made it
    INPUT = ("input", Category.DATA, "input {subject} sha256 ")
    CODE = ("module", Category.CODE, "{subject}")
    ENGINE = (
        "engine",
        Category.CODE,
        "version of the engine ",
    )  # a key contains this version instead of the engine's code
    PARAMETER = ("parameter", Category.PARAMETERS, "{subject} ")
    LOCKED = ("locked package", Category.PACKAGES, "lock: {subject} ")
    LOCK_TEXT = ("text of the lock", Category.PACKAGES, "lock: the same versions in another text, ")
    INSTALLED = ("installed package", Category.PACKAGES, "installed: {subject} ")
    PYTHON = ("python", Category.PYTHON, "python ")
    PLATFORM = ("platform", Category.PLATFORM, "platform ")
    CPU = ("cpu", Category.CPU, "cpu ")
    MACHINE = ("machine", Category.CPU, "machine ")
    PLACEMENT = ("placement", Category.THREADS, "{subject} ")  # a parameter that cannot change the result
    VARIABLE = ("variable", Category.THREADS, "variable: {subject} ")
    CORES = ("cores", Category.THREADS, "cores ")
    MANAGER = ("manager", Category.MANAGER, "manager ")
    BESIDE_THE_LOCK = ("package beside the lock", Category.BESIDE_THE_LOCK, "beside the lock: {subject} ")
    CODE_BESIDE_THE_KEY = ("module beside the key", Category.CODE_BESIDE_THE_KEY, "{subject}")

    def __init__(self, label: str, category: Category, words: str):
        self.label, self.category, self.words = label, category, words


_DIGESTS = (
    DifferenceKind.EXTERNAL_INPUT,
    DifferenceKind.INPUT,
    DifferenceKind.LOCK_TEXT,
)  # messages show the first characters


@dataclass(frozen=True)
class Difference:
    """One difference between two records.

    subject: name of the input, module, parameter, package or variable; for damage, which of the two runs has it.
    before, after: the two values, or SHA-256 of the content; None on a side that has none.
    noun: what the project calls an external input.
    places: the two locations of an external input, if they differ.
    problem: the damage.
    """

    kind: DifferenceKind
    subject: str = ""
    before: str | None = None
    after: str | None = None
    noun: str = ""
    places: tuple[str, str] | None = None
    problem: Problem | None = None

    @property
    def category(self) -> Category:
        return self.kind.category

    def __str__(self) -> str:
        return one_line(f"{self.category}: {self.text}")

    @property
    def text(self) -> str:
        """The difference without its category. It can contain control characters: make it printable before printing."""
        start = self.kind.words.format(subject=self.subject, noun=self.noun)
        if self.kind in (DifferenceKind.CODE, DifferenceKind.CODE_BESIDE_THE_KEY):
            return start + self._one_sided()
        if self.problem:
            return start + self.problem.of_record()
        text = f"{start}{self._shown(self.before)} -> {self._shown(self.after)}"
        return f"{text} ({self.places[0]} -> {self.places[1]})" if self.places else text

    @property
    def reason(self) -> str:
        """The difference as a reason why a step runs. It names its kind, because no category precedes it."""
        if self.kind is DifferenceKind.CODE:
            return f"code of {self.text}"
        if self.kind is DifferenceKind.INPUT:
            return f"input {self.subject} {self._shown(self.before)} -> {self._shown(self.after)}"
        return self.text

    def _one_sided(self) -> str:
        if self.before is None:
            return " (added)"
        return " (removed)" if self.after is None else ""

    def _shown(self, value: str | None) -> str:
        if value is None:
            return ABSENT
        return value[:SHORT] if self.kind in _DIGESTS else value

    def to_dict(self) -> dict[str, str | None]:
        """Plain values, for JSON."""
        return {
            "kind": self.category.value,
            "text": self.text,
            "what": self.kind.label,
            "subject": self.subject,
            "before": self.before,
            "after": self.after,
        }


def sentences(differences: Iterable[Difference]) -> list[str]:
    """One sentence for each difference, but one for all modules that are not part of a key: there may be dozens."""
    every = list(differences)
    beside = [one for one in every if one.kind is DifferenceKind.CODE_BESIDE_THE_KEY]
    lines = [str(one) for one in every if one.kind is not DifferenceKind.CODE_BESIDE_THE_KEY]
    if not beside:
        return lines
    more = f" and {len(beside) - 3} more" if len(beside) > 3 else ""
    named = ", ".join(one.text for one in beside[:3])
    return [*lines, one_line(f"{Category.CODE_BESIDE_THE_KEY}: {named}{more}")]


def changed_values(kind: DifferenceKind, before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """A Difference of `kind` for each name whose values differ or that is on one side only, sorted by name."""
    return [
        Difference(kind, name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
