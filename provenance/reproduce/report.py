"""A verdict in words: the report's Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from provenance.record.validation import cell, code
from provenance.reproduce.verdict import Grade, StepVerdict, Verdict, relative

MEANING = {
    Grade.IDENTICAL: "Every output and every metric came out again, bit for bit, and so did the code in its models.",
    Grade.METRICS: "Every metric came out again, bit for bit; some output has other bytes.",
    Grade.CLOSE: "Every metric came out within the tolerance.",
    Grade.DIVERGED: "Something did not come out again, or could not be compared. Look at the first step that differs: "
    "those after it had other inputs.",
}


def markdown(verdict: Verdict, title: str, facts: Mapping[str, str]) -> str:
    """The whole report: the grade first, then each step with what differs."""
    lines = [f"# {title}", "", f"**{cell(verdict.line())}**", "", MEANING[verdict.grade], ""]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {cell(text)} |" for name, text in facts.items()), ""]
    lines += ["| step | grade | outputs equal | metrics equal | recorded | repeated |", "| --- " * 6 + "|"]
    for step in verdict.steps:
        lines.append(f"| {step.step} | {step.grade} | {_equal(step.outputs)} | {_equal(step.metrics)} "
                     f"| {code(step.original)} | {code(step.repeated or 'none')} |")  # fmt: skip
    for step in verdict.steps:
        if step.grade is not Grade.IDENTICAL:
            lines += ["", *_section(step)]
    return "\n".join(lines) + "\n"


def _section(step: StepVerdict) -> list[str]:
    lines = [f"## {step.step}: {step.grade}", ""]
    if step.error:
        lines += [cell(step.error), ""]
    lines += ["Likeliest causes first:", "", *(f"{n}. {cell(text)}" for n, text in enumerate(step.explanations, 1)), ""]
    apart = [row for row in (*step.outputs, *step.loaded, *step.metrics) if repr(row[1]) != repr(row[2])]
    if apart:
        lines += ["| differs | recorded | repeated | apart |", "| --- " * 4 + "|"]
        lines += [f"| {cell(name)} | {code(before)} | {code(after)} | {_apart(before, after)} |" for name, before, after
                  in apart]  # fmt: skip
    return lines


def _apart(before: object, after: object) -> str:
    """The relative distance of two metrics; digests have none."""
    return f"{relative(before, after):.2g}" if isinstance(before, float) and isinstance(after, float) else ""


def _equal(rows: tuple) -> str:
    return f"{sum(repr(before) == repr(after) for _, before, after in rows)} of {len(rows)}"
