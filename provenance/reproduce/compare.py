"""Why two runs differ: their chains step by step, only what differs, the likeliest cause first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from provenance.reproduce.differences import KINDS, Difference
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import StepVerdict, judge

METRICS_FIRST = ("test_rmse", "val_rmse", "val_mae", "val_r2")  # what people ask about


class NotComparable(ValueError):
    """Two runs that do not make the same things."""


@dataclass(frozen=True)
class RankedDifference:
    """One cause and the steps whose records show it."""

    difference: Difference
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.difference} ({', '.join(self.steps)})"


@dataclass(frozen=True)
class Comparison:
    """pairs: each step of a and b, in order. found: causes, the likeliest first."""

    pairs: tuple[StepVerdict, ...]
    found: tuple[RankedDifference, ...]

    @property
    def metrics(self) -> list[tuple[str, str, float | None, float | None]]:
        """(step, metric, a, b) of every metric that differs, the last step and the telling metrics first."""
        rows = [
            (pair.step, name, before, after)
            for pair in reversed(self.pairs)
            for name, before, after in sorted(pair.metrics, key=_telling)
            if repr(before) != repr(after)
        ]
        return rows

    @property
    def outputs(self) -> list[tuple[str, str, str | None, str | None]]:
        """(step, output, a, b) of every output that differs."""
        return [(pair.step, *row) for pair in self.pairs for row in pair.outputs if row[1] != row[2]]

    @property
    def modules(self) -> list[str]:
        """Paths of the code that differs."""
        return [found.difference.text.split(" (")[0] for found in self.found if found.difference.kind == "code"]


def compare(a: list[RecordedRun], b: list[RecordedRun]) -> Comparison:
    """Compare two chains, each with everything upstream. Raises NotComparable when they are of different steps."""
    steps = [original.lineage.step for original in a]
    if steps != [original.lineage.step for original in b]:
        others = ", ".join(original.lineage.step for original in b)
        raise NotComparable(f"a is made of {', '.join(steps)}; b of {others}\n Give two runs of one entry point.")
    pairs = tuple(judge(left.made, right.made) for left, right in zip(a, b, strict=True))
    shown: dict[Difference, list[str]] = {}
    for left, right, pair in zip(a, b, pairs, strict=True):
        for which, original in (("a", left), ("b", right)):
            for line in original.damage:
                shown.setdefault(Difference("data", f"{which}: {line}"), []).append(pair.step)
        for cause in pair.differences:
            if not _explained(cause, left, right):
                shown.setdefault(cause, []).append(pair.step)
    found = [RankedDifference(cause, tuple(where)) for cause, where in shown.items()]
    # Stable: within one kind, the steps and the ranking inside each step stay in order.
    return Comparison(pairs, tuple(sorted(found, key=lambda item: KINDS.index(item.difference.kind))))


def _explained(cause: Difference, a: RecordedRun, b: RecordedRun) -> bool:
    """Whether the input that differs was made by steps that are compared themselves."""
    if cause.kind != "data" or not cause.text.startswith("input "):
        return False
    role = cause.text.split()[1]
    return role in a.upstream and role in b.upstream


def _telling(row: tuple) -> tuple[int, str]:
    name = row[0]
    return (METRICS_FIRST.index(name) if name in METRICS_FIRST else len(METRICS_FIRST), name)
