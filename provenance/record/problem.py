"""How an artifact is not what its record says: as data, and as the one sentence that is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provenance.record.validation import one_line

SHORT = 12  # characters of a digest that a person is shown


class ProblemKind(StrEnum):
    MISSING = "missing"  # a file that the record lists
    EXTRA = "extra"  # a file that it does not list
    TRUNCATED = "truncated"
    GROWN = "grown"
    RESIZED = "resized"  # by what its store lists, which is not asked for content
    ALTERED = "altered"  # as many bytes, but others
    REPLACED = "replaced"  # the artifact is another one by now
    UNAVAILABLE = "unavailable"  # its store does not have it, or does not give it
    UNREADABLE = "unreadable"  # it is there, and cannot be read or may not be followed


_WORDS = {
    ProblemKind.MISSING: "{path} missing",
    ProblemKind.EXTRA: "{path} extra: not in the listing",
    ProblemKind.TRUNCATED: "{path} truncated: {found:,} bytes of {recorded:,}",
    ProblemKind.GROWN: "{path} grown: {found:,} bytes of {recorded:,}",
    ProblemKind.RESIZED: "{path} truncated or altered",
    ProblemKind.ALTERED: "{path} altered: sha256 {found}, recorded {recorded}",
    ProblemKind.REPLACED: "sha256 {found}, recorded {recorded}",
    ProblemKind.UNAVAILABLE: "{detail}",
    ProblemKind.UNREADABLE: "{detail}",
}


@dataclass(frozen=True)
class Problem:
    """One way in which an artifact is not what its record says.

    path: of the file, inside the artifact; "" for the artifact as a whole.
    recorded, found: sizes in bytes, or SHA-256 in hex; None where there is none.
    detail: the words of the error that was raised.
    output, input: which artifact of a run it is, by the name of the output and by the role in which it was read.
    """

    kind: ProblemKind
    path: str = ""
    recorded: int | str | None = None
    found: int | str | None = None
    detail: str = ""
    output: str = ""
    input: str = ""

    @property
    def gone(self) -> bool:
        """Whether the artifact is not to be had, as opposed to changed: then nothing speaks against its record."""
        return self.kind in (ProblemKind.MISSING, ProblemKind.UNAVAILABLE)

    def __str__(self) -> str:
        values = {"recorded": _shown(self.recorded), "found": _shown(self.found)}
        text = _WORDS[self.kind].format(path=self.path, detail=self.detail, **values)
        if self.output:
            text = f"output {self.output}: {text}"
        if self.input and self.output:
            text = f"input {self.input} was changed after it was made: {text}"
        elif self.input:
            link = " is not the one recorded" if self.kind is ProblemKind.REPLACED else ""
            text = f"input {self.input}{link}: {text}"
        return one_line(text)

    def of_record(self) -> str:
        """The same, of an output or an input of a run that is to be repeated."""
        return str(self) if self.input else f"recorded {self} (changed after the run)"

    def to_dict(self) -> dict[str, int | str | None]:
        """Plain values, for JSON."""
        return {
            "kind": self.kind.value,
            "path": self.path,
            "recorded": self.recorded,
            "found": self.found,
            "output": self.output,
            "input": self.input,
            "text": str(self),
        }


def _shown(value: int | str | None) -> int | str:
    if value is None:
        return "absent"
    return value[:SHORT] if isinstance(value, str) else value
