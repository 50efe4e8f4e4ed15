"""What a change moves: `main` of one commit compared with `main` of this checkout, step by step, as Markdown.

The functions here are pure: they read no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provenance.pipeline.declaration import Pipeline
from provenance.record.difference import Category, Difference, DifferenceKind, sentences
from provenance.record.lineage import Lineage
from provenance.record.validation import cell, code, printable
from provenance.reproduce.differences import find_differences
from provenance.reproduce.main_run import Failure, MainRun
from provenance.reproduce.verdict import NO_CAUSE, Grade, MetricRow, StepVerdict, judge, short

TITLE = "# What this change moves"


@dataclass(frozen=True)
class StepMove:
    """One step before and after the change.

    verdict: the comparison of its two results; None if a side has none.
    before, after: why a side has no result: the failure, or a word; None if it has one.
    causes: the differences, the most likely cause first.
    """

    step: str
    verdict: StepVerdict | None
    before: Failure | str | None
    after: Failure | str | None
    causes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return self.verdict is not None and self.verdict.grade is Grade.IDENTICAL

    def metrics(self, headline: tuple[str, ...]) -> list[MetricRow]:
        """The metrics that differ, those of `headline` first."""
        rows = self.verdict.metrics if self.verdict else ()
        moved = [row for row in rows if repr(row[1]) != repr(row[2])]
        return sorted(moved, key=lambda row: headline.index(row[0]) if row[0] in headline else len(headline))

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        sides = {"before": _why(self.before), "after": _why(self.after)}
        return {"step": self.step, "identical": self.identical, **sides, "causes": list(self.causes),
                "verdict": self.verdict.to_dict() if self.verdict else None}  # fmt: skip


def moves(before: MainRun, after: MainRun, pipeline: Pipeline) -> list[StepMove]:
    """Each step of the two sides, in the order in which this project declares them, then those of the other alone."""
    order = [name for name in pipeline.names if name in {*_named(before), *_named(after)}]
    order += [name for name in dict.fromkeys([*_named(before), *_named(after)]) if name not in order]
    return [_move(name, before, after, pipeline) for name in order]


def _named(side: MainRun) -> list[str]:
    return [*side.steps, *([side.failure.step] if side.failure else [])]


def _move(step: str, before: MainRun, after: MainRun, pipeline: Pipeline) -> StepMove:
    old, new = before.steps.get(step), after.steps.get(step)
    if old and new:
        verdict = judge(old, new, pipeline)
        causes = () if verdict.grade is Grade.IDENTICAL else explained(verdict.differences, pipeline) or (NO_CAUSE,)
        return StepMove(step, verdict, None, None, causes)
    left, right = _record(before, step), _record(after, step)
    found = find_differences(left, right, pipeline) if left and right else ()
    return StepMove(step, None, _absent(before, step), _absent(after, step), explained(found, pipeline))


def _record(side: MainRun, step: str) -> Lineage | None:
    """The record of a step's result, or the one with which the failed step started."""
    if step in side.steps:
        return side.steps[step].lineage
    return side.failure.tried if side.failure and side.failure.step == step else None


def _absent(side: MainRun, step: str) -> Failure | str | None:
    """Why a side has no result of `step`; None if it has one."""
    if step in side.steps:
        return None
    if side.failure is None:
        return "no such step"
    return side.failure if side.failure.step == step else "not run"


def explained(differences: Iterable[Difference], pipeline: Pipeline) -> tuple[str, ...]:
    """Sentences for differences, the most likely cause first.

    That an earlier step gave another input explains a step only if nothing of its own does.
    """
    found = list(differences)
    follows = [one for one in found if one.kind is DifferenceKind.INPUT]
    own = [one for one in found if one.kind is not DifferenceKind.INPUT]
    likely = [one for one in own if one.category.rank <= Category.PYTHON.rank]
    makers = {need.param: need.step for step in pipeline.steps for need in step.needs}
    lines = [f"{one.subject} of {makers.get(one.subject, 'an earlier step')} differs" for one in follows]
    return (*sentences(likely), *lines, *sentences(one for one in own if one not in likely))


def summary(found: list[StepMove], pipeline: Pipeline) -> str:
    """One line: whether anything moved, and the first step that failed or moved."""
    for move in found:
        if isinstance(move.after, Failure):
            return f"{move.step} fails {'before and ' if isinstance(move.before, Failure) else ''}after this change"
    for move in found:
        if isinstance(move.before, Failure):
            return f"{move.step} fails before this change, so that nothing after it can be compared"
    first = next((move for move in found if not move.identical), None)
    if first is None:
        return "identical: every output and every metric of every step"
    what, before, after, change = _result(first, pipeline)
    values = f" {before} -> {after}{f' ({change})' if change else ''}" if before else ""
    return f"first at {first.step}: {what}{values}" + "".join(f"; {cause}" for cause in first.causes[:1])


def markdown(found: list[StepMove], facts: Mapping[str, str], pipeline: Pipeline) -> str:
    """The report: the result, the facts, a row for each step, then what a failed step said and all that moved."""
    lines = [TITLE, "", f"**{cell(summary(found, pipeline))}**", ""]
    lines += [f"- {name}: {cell(text)}" for name, text in facts.items()]
    lines += ["", "| step | result | before | after | change | first cause |", "| --- " * 6 + "|"]
    lines += [_row(move, pipeline) for move in found]
    for move in found:
        for side, when in ((move.before, "before"), (move.after, "after")):
            if isinstance(side, Failure):
                lines += ["", f"## {cell(move.step)} fails {when} this change", "", *_said(side)]
    for move in found:
        if not move.identical and move.verdict:
            lines += ["", *_details(move, pipeline)]
    return "\n".join(lines) + "\n"


def _row(move: StepMove, pipeline: Pipeline) -> str:
    return f"| {' | '.join([cell(move.step), *_result(move, pipeline), cell(move.causes[0]) if move.causes else ''])} |"


def _result(move: StepMove, pipeline: Pipeline) -> tuple[str, str, str, str]:
    """The result of a step: its words or the metric that moved, its value before and after, and the change."""
    if move.identical:
        return "identical", "", "", ""
    if move.verdict is None:
        return _word(move), _side(move.before), _side(move.after), ""
    metrics = move.metrics(tuple(metric.name for metric in pipeline.headline))
    if not metrics:
        return "equal metrics, other bytes", "", "", ""
    name, before, after = metrics[0]
    return cell(name), *_values(before, after), _change(name, before, after, pipeline)


def _word(move: StepMove) -> str:
    if isinstance(move.after, Failure) or isinstance(move.before, Failure):
        return "**fails**"
    return "not compared"


def _side(absent: Failure | str | None) -> str:
    return "fails" if isinstance(absent, Failure) else absent or "finished"


def _values(before: float | None, after: float | None) -> tuple[str, str]:
    """Two values with six digits, or with all if these are the same."""
    shown = tuple("absent" if value is None else f"{value:.6g}" for value in (before, after))
    return (shown[0], shown[1]) if shown[0] != shown[1] else (repr(before), repr(after))


def _change(name: str, before: float | None, after: float | None, pipeline: Pipeline) -> str:
    if before is None or after is None:
        return ""
    metric = next((metric for metric in pipeline.headline if metric.name == name), None)
    if metric is None:
        return f"{after - before:+.3g}"
    better = (after > before) == metric.greater_is_better
    return f"{after - before:+.3g} {metric.unit}".rstrip() + (", better" if better else ", worse")


def _said(failure: Failure) -> list[str]:
    said = [printable(line).replace("```", "'''") for line in failure.said]
    return [cell(failure.error), "", *(["```text", *said, "```"] if said else [])]


def _details(move: StepMove, pipeline: Pipeline) -> list[str]:
    """All causes, and all metrics and outputs that differ, folded."""
    lines = [f"<details><summary>{cell(move.step)}: all that differs</summary>", ""]
    lines += [f"{number}. {cell(cause)}" for number, cause in enumerate(move.causes, 1)]
    lines += ["", "| | before | after | change |", "| --- " * 4 + "|"]
    for name, before, after in move.metrics(tuple(metric.name for metric in pipeline.headline)):
        lines.append(f"| {' | '.join([cell(name), *_values(before, after), _change(name, before, after, pipeline)])} |")
    outputs = move.verdict.outputs if move.verdict else ()
    lines += [f"| {cell(name)} | {code(short(before))} | {code(short(after))} | |"
              for name, before, after in outputs if before != after]  # fmt: skip
    return [*lines, "", "</details>"]


def _why(absent: Failure | str | None) -> str | None:
    return absent.error if isinstance(absent, Failure) else absent
