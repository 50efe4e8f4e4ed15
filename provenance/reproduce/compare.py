"""Compare two runs and the runs before them, step by step. Only differences are shown, the most likely cause first.

The functions here are pure: they read no store.
"""

from __future__ import annotations

from dataclasses import dataclass

from provenance.pipeline.declaration import Pipeline
from provenance.record.difference import Difference, DifferenceKind
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import StepVerdict, judge

# The two kinds of code. The report shows their lines that differ.
MODULES = (DifferenceKind.CODE, DifferenceKind.CODE_BESIDE_THE_KEY)


class NotComparable(ValueError):
    """Two runs consist of different steps."""


@dataclass(frozen=True)
class RankedDifference:
    """One difference and the steps whose records show it."""

    difference: Difference
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.difference} ({', '.join(self.steps)})"

    def to_dict(self) -> dict[str, str | list[str] | None]:
        """Plain values, for JSON."""
        return {**self.difference.to_dict(), "steps": list(self.steps)}


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs.

    pairs: each step of a and b, in order.
    found: the differences, the most likely cause first.
    headline: names of the metrics to show first.
    """

    pairs: tuple[StepVerdict, ...]
    found: tuple[RankedDifference, ...]
    headline: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[tuple[str, str, float | None, float | None]]:
        """(step, metric, value in a, value in b) of each metric that differs, the last step and the headline first."""
        rows = [
            (pair.step, name, before, after)
            for pair in reversed(self.pairs)
            for name, before, after in sorted(pair.metrics, key=lambda row: self._rank(row[0]))
            if repr(before) != repr(after)
        ]
        return rows

    @property
    def outputs(self) -> list[tuple[str, str, str | None, str | None]]:
        """(step, output, digest in a, digest in b) of each output that differs."""
        return [(pair.step, *row) for pair in self.pairs for row in pair.outputs if row[1] != row[2]]

    @property
    def modules(self) -> list[str]:
        """Paths of the code that differs."""
        return [item.difference.subject for item in self.found if item.difference.kind in MODULES]

    def _rank(self, metric: str) -> tuple[int, str]:
        return (self.headline.index(metric) if metric in self.headline else len(self.headline), metric)


def compare(a: list[RecordedRun], b: list[RecordedRun], pipeline: Pipeline) -> Comparison:
    """Compare two runs and all runs from which they were made.

    Parameters
    ----------
    a, b : list of RecordedRun
        The two runs, each after the runs from which it was made; see `recorded_run.in_order`.
    pipeline : Pipeline
        The project's declaration.

    Returns
    -------
    Comparison
        The differences in code, data, parameters and environment, and those in metrics and outputs.

    Raises
    ------
    NotComparable
        If the two consist of different steps.
    """
    steps = [original.lineage.step for original in a]
    if steps != [original.lineage.step for original in b]:
        others = ", ".join(original.lineage.step for original in b)
        raise NotComparable(f"a is made of {', '.join(steps)}; b of {others}\n Give two runs of one entry point.")
    pairs = tuple(judge(left.made, right.made, pipeline) for left, right in zip(a, b, strict=True))
    shown: dict[Difference, list[str]] = {}
    for left, right, pair in zip(a, b, pairs, strict=True):
        for cause in (*_damage("a", left), *_damage("b", right), *pair.differences):
            if not _explained(cause, left, right):
                shown.setdefault(cause, []).append(pair.step)
    found = [RankedDifference(cause, tuple(where)) for cause, where in shown.items()]
    # The sort is stable: within one category the order of steps, and the order inside each step, do not change.
    found.sort(key=lambda item: item.difference.category.rank)
    return Comparison(pairs, tuple(found), tuple(metric.name for metric in pipeline.headline))


def _damage(which: str, original: RecordedRun) -> list[Difference]:
    return [Difference(DifferenceKind.DAMAGE, which, problem=problem) for problem in original.damage]


def _explained(cause: Difference, a: RecordedRun, b: RecordedRun) -> bool:
    """Whether other compared steps made the input that differs. Then the differences of those steps explain it."""
    return cause.kind is DifferenceKind.INPUT and cause.subject in a.upstream and cause.subject in b.upstream
