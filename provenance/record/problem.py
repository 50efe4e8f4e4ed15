"""One difference between an artifact and its record, as data, and the sentence that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provenance.record.validation import one_line

SHORT = 12  # characters of a digest in a message


class ProblemKind(StrEnum):
    MISSING = "missing"  # a file that the record lists
    EXTRA = "extra"  # a file that the record does not list
    TRUNCATED = "truncated"
    GROWN = "grown"
    RESIZED = "resized"  # the store lists another size; the content was not read
    ALTERED = "altered"  # the same size, but other content
    REPLACED = "replaced"  # another artifact is in its place
    UNAVAILABLE = "unavailable"  # its store does not have it or does not send it
    UNREADABLE = "unreadable"  # it exists, but cannot be read or may not be opened


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
    """One difference between an artifact and its record.

    path: the file inside the artifact; "" for the whole artifact.
    recorded, found: sizes in bytes, or SHA-256 in hex; None if there is none.
    detail: the message of the error that was raised.
    output: the name of the run's output that the artifact is.
    input: the role in which the run read the artifact.
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
        """Whether the artifact is missing, and not changed. A missing artifact does not contradict its record."""
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
        """The sentence for an output or an input of a run that will be repeated."""
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
