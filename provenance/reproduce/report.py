"""Describe a verdict or a comparison: as lines for a terminal and as Markdown for a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from provenance.record.difference import Category, sentences
from provenance.record.validation import cell, code
from provenance.reproduce.ablation import Outcome, effect
from provenance.reproduce.compare import Comparison, RankedDifference
from provenance.reproduce.verdict import NO_CAUSE, Grade, StepVerdict, Verdict, relative, short

NO_DIFFERENCE = "no difference in code, parameters, inputs, environment, machine, metrics and outputs"

Shown = Callable[[str], str]  # a run's id -> Markdown
_RUN_ID = re.compile("[0-9a-f]{32}")
MEANING = {
    Grade.IDENTICAL: "Every output and every metric came out again, bit for bit, and so did the code in its models.",
    Grade.METRICS: "Every metric came out again, bit for bit; some output has other bytes.",
    Grade.CLOSE: "Every metric came out within the tolerance.",
    Grade.DIVERGED: "Something did not come out again, or could not be compared. Look at the first step that differs: "
    "those after it had other inputs.",
}


def result(verdict: Verdict) -> str:
    """One line for the top of a page: the grade, its meaning and, if not identical, where and why it differs first."""
    first = verdict.first
    where = f", first at {first.step}: {cell(first.explanations[0])}" if first else ""
    return f"**{verdict.grade}**{where}. {MEANING[verdict.grade]}"


def markdown(verdict: Verdict, title: str, facts: Mapping[str, str]) -> str:
    """The whole report: the grade first, then each step with what differs."""
    head = f"# {title}\n\n**{cell(verdict.line())}**\n\n{MEANING[verdict.grade]}\n\n"
    return head + table(verdict, facts, code, code)


def table(verdict: Verdict, facts: Mapping[str, str], original: Shown, repeated: Shown) -> str:
    """The part of a page below `result`: the facts, and for each step the differences.

    original, repeated: turn the id of the recorded and of the repeated run into Markdown.
    """
    lines: list[str] = []
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {cell(text)} |" for name, text in facts.items()), ""]
    lines += ["| step | grade | outputs equal | metrics equal | recorded | repeated |", "| --- " * 6 + "|"]
    for step in verdict.steps:
        lines.append(f"| {step.step} | {step.grade} | {_equal(step.outputs)} | {_equal(step.metrics)} "
                     f"| {_run(step.original, original)} | {_run(step.repeated, repeated)} |")  # fmt: skip
    for step in verdict.steps:
        if step.grade is not Grade.IDENTICAL:
            lines += ["", *_section(step)]
    return "\n".join(lines) + "\n"


def _run(run_id: str | None, shown: Shown) -> str:
    """A run's id as `shown` writes it. Text that is not an id is only quoted, because a record may contain any text."""
    return shown(run_id) if run_id and _RUN_ID.fullmatch(run_id) else code(run_id or "none")


def _section(step: StepVerdict) -> list[str]:
    lines = [f"## {step.step}: {step.grade}", ""]
    if step.error:
        lines += [cell(step.error), ""]
    lines += ["Likeliest causes first:", "", *(f"{n}. {cell(text)}" for n, text in enumerate(step.explanations, 1)), ""]
    apart = [row for row in (*step.outputs, *step.loaded, *step.metrics) if repr(row[1]) != repr(row[2])]
    if apart:
        lines += ["| differs | recorded | repeated | apart |", "| --- " * 4 + "|"]
        lines += [
            f"| {cell(str(name))} | {code(str(before))} | {code(str(after))} | {_apart(before, after)} |"
            for name, before, after in apart
        ]
    return lines


def _apart(before: float | str | None, after: float | str | None) -> str:
    """The relative distance of two metrics; "" for digests."""
    return f"{relative(before, after):.2g}" if isinstance(before, float) and isinstance(after, float) else ""


def _equal(rows: Sequence[tuple[str, float | str | None, float | str | None]]) -> str:
    return f"{sum(repr(before) == repr(after) for _, before, after in rows)} of {len(rows)}"


def comparison_lines(comparison: Comparison) -> list[str]:
    """The differences, the most likely cause first, and then the metrics and outputs that differ."""
    if not comparison.found and not comparison.metrics and not comparison.outputs:
        return [NO_DIFFERENCE]
    lines = [f"{number}. {line}" for number, line in enumerate(_causes(comparison), 1)] or [NO_CAUSE]
    lines += [f"metric {step}.{name}  {before} -> {after}{_moved(before, after)}" for step, name, before, after
              in comparison.metrics]  # fmt: skip
    return lines + [
        f"output {step}.{name}  {short(before)} -> {short(after)}" for step, name, before, after in comparison.outputs
    ]


def _causes(comparison: Comparison) -> list[str]:
    """One line for each difference, with its steps. All modules that are not part of a key share one line."""
    beside = Category.CODE_BESIDE_THE_KEY
    lines = [str(item) for item in comparison.found if item.difference.category is not beside]
    modules = (item.difference for item in comparison.found if item.difference.category is beside)
    return lines + sentences(modules)


def _moved(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"  ({after - before:+.6g})"


def ablation_lines(
    outcomes: Iterable[Outcome], untried: Iterable[RankedDifference], comparison: Comparison
) -> list[str]:
    """The differences that cannot be tried on this machine, and then the effect of each factor."""
    lines = [f"not tried here: {item}" for item in untried]
    return lines + [f"a with {one.factor.name}: {effect_line(one.verdict, comparison)}" for one in outcomes]


def effect_line(verdict: Verdict, comparison: Comparison) -> str:
    """The effect of one factor on the first metric that differs, and its share of the whole difference."""
    broken = next((step for step in verdict.steps if step.error), None)
    if broken:
        return f"{broken.step} failed: {broken.error}"
    found = effect(verdict, comparison)
    if found is None:
        return f"grade {verdict.grade}"
    name = f"{found.step}.{found.metric}"
    if found.now == found.in_a:
        return f"{name} {found.now!r}, unchanged"
    share = "" if found.share is None else f" ({found.share:.0%} of the difference)"
    return f"{name} {found.in_a!r} -> {found.now!r}, moved by {found.now - found.in_a:+.6g}{share}"


def comparison_markdown(a: str, b: str, lines: Iterable[str], diff: str) -> str:
    """The report on runs `a` and `b`. diff: the difference of their code as git shows it, or ""."""
    text = [f"# Runs {cell(a)} and {cell(b)}", "", *(f"- {cell(line)}" for line in lines)]
    if diff:
        text += ["", "## Code", "", "````diff", diff.replace("````", "` ` ` `"), "````"]
    return "\n".join(text) + "\n"
