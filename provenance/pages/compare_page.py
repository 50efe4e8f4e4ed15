"""The page of a comparison: what differs, the likeliest cause first, and the values of both runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from provenance.record.validation import cell, code
from provenance.reproduce.compare import Comparison

SHORT = 12  # letters of a digest


def compared_result(found: Comparison) -> str:
    """In one line: how much differs, and the likeliest cause."""
    counts = [(len(found.found), "cause"), (len(found.metrics), "metric"), (len(found.outputs), "output")]
    if not any(count for count, _ in counts):
        return "**No difference** in code, parameters, inputs, environment, machine, metrics and outputs."
    told = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    first = f": {cell(str(found.found[0]))}" if found.found else ", and nothing that is recorded explains it"
    return f"**Different** ({told}){first}."


def compared_page(found: Comparison, outcomes: Sequence[str], diff: str) -> str:
    """Causes, then metrics and outputs of a and b as tables, what was tried, and the code's difference."""
    parts = ["\n".join(f"{number}. {cell(str(item))}" for number, item in enumerate(found.found, 1))]
    metrics = [(f"{step} {name}", _number(a), _number(b), _moved(a, b)) for step, name, a, b in found.metrics]
    outputs = [(f"{step} {name}", _digest(a), _digest(b)) for step, name, a, b in found.outputs]
    parts += [_table(("metric", "a", "b", "b - a"), metrics), _table(("output", "a", "b"), outputs)]
    parts += ["\n".join(f"- {cell(line)}" for line in outcomes)]
    if diff:
        parts.append("\n".join(["## Code", "", "````diff", diff.replace("````", "` ` ` `"), "````"]))
    return "\n\n".join(filter(None, parts))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, ("---", *("---:",) * (len(head) - 1)), *((cell(first), *rest) for first, *rest in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "absent" if value is None else f"{value!r}"


def _moved(a: float | None, b: float | None) -> str:
    return "" if a is None or b is None else f"{b - a:+.6g}"


def _digest(digest: str | None) -> str:
    return code(digest[:SHORT] if digest else "absent")
