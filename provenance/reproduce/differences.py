"""In what two records of one step differ, the likeliest cause of another result first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from provenance.record import code
from provenance.record.environment import Environment, environment_differences
from provenance.record.lineage import Lineage
from provenance.record.validation import one_line

# Likeliest first. A package beside the lock is not imported, a manager only builds what the lock says.
KINDS = ("data", "code", "parameters", "packages", "python", "platform", "cpu", "threads", "manager", "beside the lock")
# What computes, as opposed to what talks to servers: the first to suspect among packages.
NUMERIC = ("numpy", "scipy", "scikit-learn", "xgboost", "hyperopt", "pandas", "pyarrow", "dask")

MONTH = re.compile(r"\d{4}-\d{2}")
_KIND_OF_LINE = {
    "python": "python",
    "lock:": "packages",
    "installed:": "packages",
    "variable:": "threads",
    "cores": "threads",
    "cpu": "cpu",
    "machine": "cpu",
    "platform": "platform",
    "manager": "manager",
    "beside": "beside the lock",
}


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ; `kind` is one of KINDS."""

    kind: str
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.kind}: {self.text}")


def find_differences(old: Lineage, new: Lineage) -> tuple[Difference, ...]:
    """Everything in which two records of one step differ and that may change a result, the likeliest first.

    Where months lay is no difference; their digests are.
    """
    found = [*_data(old, new), *(Difference("code", path) for path in code.changed(old.code, new.code))]
    found += [Difference("parameters", line) for line in _changed(old.params, new.params)]
    placed = [{name: text for name, text in record.placement.items() if name != "source"} for record in (old, new)]
    found += [Difference("threads", line) for line in _changed(*placed)]
    if old.environment and new.environment:
        before, after = Environment.from_dict(old.environment), Environment.from_dict(new.environment)
        found += [Difference(_KIND_OF_LINE[line.split()[0]], line) for line in environment_differences(before, after)]
    return tuple(sorted(found, key=_rank))


def _data(old: Lineage, new: Lineage) -> list[Difference]:
    """Inputs with other digests; a month that only one has, or another taxi's, is what the parameters asked for."""
    before, after = ({item.role: item for item in record.inputs} for record in (old, new))
    moved = {line.split()[0] for line in _changed(old.params, new.params)}
    found = []
    for role in sorted(before | after):
        was, now = before.get(role), after.get(role)
        month = bool(MONTH.fullmatch(role))
        asked = "taxi" in moved or (not (was and now) and any(name.endswith("_months") for name in moved))
        if (was and was.digest) == (now and now.digest) or (month and asked) or _unread(role, old, new):
            continue
        text = f"raw month {role}" if month else f"input {role}"
        text += f" sha256 {was.digest[:12] if was else 'absent'} -> {now.digest[:12] if now else 'absent'}"
        if month and was and now and was.uri and now.uri and was.uri != now.uri:
            text += f" ({was.uri} -> {now.uri})"
        found.append(Difference("data", text))
    return found


def _unread(role: str, old: Lineage, new: Lineage) -> bool:
    """Whether a made-up month has one recipe in both records, and one of them ended before it read the month."""
    recipe = old.key_inputs.get(role)
    digests = [item.digest for record in (old, new) for item in record.inputs if item.role == role]
    return recipe is not None and recipe == new.key_inputs.get(role) and recipe in digests


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]


def _rank(difference: Difference) -> tuple[int, int, int]:
    words = difference.text.split()
    numeric = difference.kind == "packages" and len(words) > 1 and words[1] in NUMERIC
    return KINDS.index(difference.kind), 0 if numeric else 1, NUMERIC.index(words[1]) if numeric else 0
