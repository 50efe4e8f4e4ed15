"""The answer as lines for a terminal and as Markdown for the run's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provenance.impact.answer import REPORT, TRIAL, Answer, Item
from provenance.impact.subject import SHORT
from provenance.record import names
from provenance.record.validation import cell, code, one_line
from runtime.progress import number_of

ROWS = 10  # rows of one kind that are printed; JSON and the page have all
RUN_LETTERS = 8


def lines(answers: Sequence[Answer]) -> list[str]:
    """The answer, one line for each thing that came of it."""
    found = []
    for answer in answers:
        found += [heading(answer), *(f"  {line}" for line in [*in_short(answer), *_rows(answer), *doubts(answer)])]
    return found


def heading(answer: Answer) -> str:
    """The subject in one line."""
    subject = answer.subject
    digest = f"sha256 {subject.digest[:SHORT]}" if subject.digest else ""
    return _joined(f"{subject.kind} {subject.name}", digest, f"({subject.about})" if subject.about else "")


def _joined(*texts: str) -> str:
    """The texts that are not empty, two spaces between them."""
    return "  ".join(filter(None, map(one_line, texts)))


def in_short(answer: Answer) -> list[str]:
    """What is served of it, and how much came of it."""
    if not answer.items:
        return ["nothing came of it"]
    served = ", ".join(f"{item.location} ({', '.join(item.aliases)})" for item in answer.served)
    counts = ", ".join(plural(count, kind) for kind, count in answer.counts.items())
    return [f"served now: {one_line(served) or 'none of it'}", f"came of it: {one_line(counts)}"]


def plural(count: int, kind: str) -> str:
    """The count with its noun: "2 searches"."""
    if count == 1 or kind.endswith("s"):
        return f"{count:,} {kind}"
    return f"{count:,} {kind}{'es' if kind.endswith(('ch', 'x')) else 's'}"


def doubts(answer: Answer) -> list[str]:
    """What the answer leaves out or does not know."""
    found = []
    if answer.unfinished:
        found.append(f"{number_of(len(answer.unfinished), 'more run')} worked with it and left nothing to use")
    if answer.unknown:
        readers = number_of(len(answer.unknown), "run")
        found.append(f"unknown: {readers} read what no run made that is still there and that you may read")
    if answer.subject.unread:
        unread = number_of(len(answer.subject.unread), "environment")
        found.append(f"unknown: no readable record says which packages {unread} had")
    return found


def _rows(answer: Answer) -> list[str]:
    found = []
    for kind, count in answer.counts.items():
        if kind == TRIAL:
            continue  # they are counted
        found += [row(item) for item in answer.of_kind(kind)[:ROWS]]
        if count > ROWS:
            found.append(f"{one_line(kind):<12}and {count - ROWS:,} more: json=true and the page have all")
    return found


def row(item: Item) -> str:
    """One line about one item."""
    aliases = ", ".join([*(["served"] if item.served else []), *item.aliases])
    reused = f"reused by {number_of(len(item.reused_by), 'run')}" if item.reused_by else ""
    trial = f"trial {item.trial}" if item.trial else ""
    what = item.location if item.kind != REPORT else item.step
    return f"{one_line(item.kind):<12}{_joined(what, item.digest[:SHORT], aliases, trial, by(item), reused)}"


def by(item: Item) -> str:
    """The run that made an item, its experiment, user and time."""
    if not item.experiment:
        return f"by a run that is gone or that you may not read {item.when}"
    return f"run {item.run_id[:RUN_LETTERS]} in {item.experiment} by {item.user} {item.when}"


def markdown(answers: Iterable[Answer], plan: Sequence[str], rows: int = 1_000_000) -> str:
    """The answer as a table for each subject, of at most so many rows. The page as HTML has the trials, too."""
    parts = []
    for answer in answers:
        parts.append(f"## {cell(heading(answer))}")
        parts += [cell(line) for line in [*in_short(answer), *doubts(answer)]]
        shown = [item for item in answer.items if item.kind != TRIAL]
        if shown:
            head = ["| | where | digest | aliases | run | experiment | by | when |", "| --- " * 8 + "|"]
            parts.append("\n".join([*head, *map(_markdown_row, shown[:rows])]))
        if len(shown) > rows:
            parts.append(f"{len(shown) - rows:,} more are in {names.IMPACT_PAGE} and {names.IMPACT_FILE}.")
    if plan:
        parts.append("\n".join(["What must be made anew:", "", "```", *map(one_line, plan), "```"]))
    return "\n\n".join(parts)


def _markdown_row(item: Item) -> str:
    where = code(item.location) if item.location else cell(item.step)
    digest = code(item.digest[:SHORT]) if item.digest else ""
    aliases = f"{'**served** ' if item.served else ''}{cell(', '.join(item.aliases))}"
    run = code(item.run_id[:RUN_LETTERS]) if item.run_id else ""
    rest = [cell(text) for text in (item.experiment, item.user, item.when)]
    return f"| {' | '.join([cell(item.kind), where, digest, aliases, run, *rest])} |"


def result(answers: Sequence[Answer]) -> str:
    """The answer in one line of Markdown: what is served and how much came of it."""
    counts: dict[str, int] = {}
    for item in {item.id: item for answer in answers for item in answer.items}.values():
        counts[item.kind] = counts.get(item.kind, 0) + 1
    served = sorted({item.location for answer in answers for item in answer.served})
    told = ", ".join(plural(count, cell(kind)) for kind, count in counts.items()) or "nothing"
    return f"**{told}** came of it; served now: {', '.join(map(code, served)) or 'none of it'}."
