"""What came of a subject, as a page that needs no network: a graph, or a tree on a narrow screen, and a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from provenance.impact.answer import MODEL, REPORT, SUBJECT, TRIAL, VERSION, Answer, Item
from provenance.impact.report import by, doubts, in_short, plural
from provenance.impact.subject import SHORT
from provenance.record import names
from provenance.record.validation import one_line

TEMPLATE = Path(__file__).with_suffix(".html")
MOST_BOXES = 36  # in one graph: the others are in the table
MOST_ROWS = 2000  # of a table
COLUMN, BOX, HEIGHT, ROW = 210, 172, 54, 70  # pixels: from one column to the next, width and height of a box, a row
LETTERS = 23  # that fit into a box
SHORT_ID = 8  # letters of an id or a digest in a box


@dataclass(frozen=True)
class Box:
    """One box of the graph. lines: the first is the kind. look: its class. before: the boxes that it was made of."""

    id: str
    lines: tuple[str, str, str]
    look: str
    before: tuple[str, ...] = ()


def impact_page(of: str, answers: Sequence[Answer], plan: Sequence[str]) -> str:
    """The page as HTML. All text of others is escaped.

    Parameters
    ----------
    of : str
        What was asked about.
    answers : sequence of Answer
        What came of each thing that it names.
    plan : sequence of str
        Commands that say what must be made anew.

    Returns
    -------
    str
        The page, with its style, and without any script or address.
    """
    title = f"What came of {one_line(of):.200}"
    parts = [f"<h1>{_text(title)}</h1>", *map(_section, answers)]
    if plan:
        commands = "\n".join(_text(command) for command in plan)
        parts.append(f"<h2>What must be made anew</h2>\n<pre>{commands}</pre>")
    template = TEMPLATE.read_text(encoding="utf-8")
    before, after = template.split("{{body}}")
    return before.replace("{{title}}", _text(title)) + "\n".join(parts) + after


def _text(text: str) -> str:
    return escape(one_line(text))


def _section(answer: Answer) -> str:
    subject = answer.subject
    digest = f" <code>sha256 {_text(subject.digest)}</code>" if subject.digest else ""
    parts = [f"<h2>{_text(subject.kind)} {_text(subject.name)}</h2>"]
    parts.append(f'<p class="about">{_text(subject.about)}{digest}</p>')
    look = ' class="served"' if answer.served else ""
    first, *rest = in_short(answer)
    parts += [f"<p{look}>{_text(first)}</p>", *(f"<p>{_text(line)}</p>" for line in [*rest, *doubts(answer)])]
    if answer.items:
        boxes = _boxes(answer)
        left = sum(item.kind != TRIAL for item in answer.items) - len(boxes) + 1
        parts += [_graph(boxes), _tree(boxes)]
        parts += [f'<p class="about">{left:,} more are in the table alone.</p>'] if left > 0 else []
        parts.append(_table(answer))
    return "\n".join(parts)


def _boxes(answer: Answer) -> list[Box]:
    """The subject, and the items that tell most: those behind what is in use, then the newest. Trials are counted."""
    shown = _chosen(answer)
    ids = {item.id for item in shown}
    trials: dict[str, list[Item]] = {}
    for item in answer.items:
        if item.search:
            trials.setdefault(item.search, []).append(item)
    subject = answer.subject
    first = Box(SUBJECT, (subject.kind, subject.name, subject.digest[:SHORT]), "subject")
    return [first, *(_box(item, ids, trials.get(item.run_id, [])) for item in shown)]


def _chosen(answer: Answer) -> list[Item]:
    by_id = {item.id: item for item in answer.items}
    used = {before for item in answer.items if item.kind != TRIAL for before in item.made_of}
    # A model of a trial that nothing was made of is counted with its search.
    wanted = [item for item in answer.items if item.kind != TRIAL and (not item.search or item.id in used)]
    first = sorted(
        wanted,
        key=lambda item: (item.served, bool(item.aliases), item.kind == VERSION, item.kind != MODEL, item.when),
        reverse=True,
    )
    chosen: dict[str, Item] = {}
    for item in first:
        pending = [item]
        while pending and len(chosen) < MOST_BOXES:
            one = pending.pop()
            if one.id not in chosen:
                chosen[one.id] = one
                pending += [by_id[before] for before in one.made_of if before in by_id]
    return [item for item in answer.items if item.id in chosen]


def _box(item: Item, ids: set[str], trials: Sequence[Item]) -> Box:
    if item.kind == VERSION:
        second = " ".join([item.location.rpartition("/")[2], ", ".join(item.aliases)])
    elif trials and not item.trial and item.location.startswith("runs:/"):
        second = plural(sum(one.kind == TRIAL for one in trials), TRIAL)
    else:
        second = item.digest[:SHORT_ID]
    look = "served" if item.served else "alias" if item.aliases else ""
    before = tuple(one for one in item.made_of if one in ids or one == SUBJECT) or (SUBJECT,)
    return Box(item.id, (f"{item.kind} {second}", _place(item), f"{item.user} {item.when[:10]}"), look, before)


def _place(item: Item) -> str:
    """Where an item lies, in few letters; the table has it whole."""
    if item.kind == REPORT:
        return f"{item.step}, run {item.run_id[:SHORT_ID]}"
    if item.location.startswith("runs:/"):
        return f"run {item.run_id[:SHORT_ID]}"
    model = item.location.removeprefix("models:/")
    if item.kind == MODEL:
        return model[: SHORT_ID + 2]
    before, _, last = model.rpartition("/")
    return before if item.kind == VERSION else last  # the number is in the first line


def _columns(boxes: Sequence[Box]) -> dict[str, int]:
    """Box -> its column: one more than the last of those that it was made of. Records may claim a circle: it is cut."""
    by_id = {box.id: box for box in boxes}
    found: dict[str, int] = {}

    def column(box_id: str, above: frozenset[str]) -> int:
        if box_id not in found:
            before = [one for one in by_id[box_id].before if one not in above and one != box_id]
            found[box_id] = max((column(one, above | {box_id}) + 1 for one in before), default=0)
        return found[box_id]

    for box in boxes:
        column(box.id, frozenset())
    return found


def _graph(boxes: Sequence[Box]) -> str:
    """The boxes from left to right, as SVG."""
    columns = _columns(boxes)
    rows: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for box in _arranged(boxes, columns):
        column = columns[box.id]
        place[box.id] = (column * COLUMN + 2, rows.get(column, 0) * ROW + 2)
        rows[column] = rows.get(column, 0) + 1
    width, height = max(columns.values()) * COLUMN + BOX + 4, max(rows.values()) * ROW
    # Small graphs are not enlarged.
    parts = [
        f'<svg viewBox="0 0 {width} {height}" style="max-width: {width}px" role="img" aria-label="What came of it">'
    ]
    looks = {box.id: box.look for box in boxes}
    for box in boxes:
        for before in box.before:
            parts.append(_line(place[before], place[box.id], looks[box.id]))
    parts += [_drawn(box, *place[box.id]) for box in boxes]
    return "\n".join([*parts, "</svg>"])


def _arranged(boxes: Sequence[Box], columns: Mapping[str, int]) -> list[Box]:
    """Column by column, each box near those that it was made of, so that few lines cross."""
    rank: dict[str, float] = {}
    found: list[Box] = []
    for column in range(max(columns.values()) + 1):
        here = [box for box in boxes if columns[box.id] == column]
        means = {box.id: [rank[one] for one in box.before if one in rank] for box in here}
        here.sort(key=lambda box: sum(means[box.id]) / max(len(means[box.id]), 1))
        rank |= {box.id: number / len(here) for number, box in enumerate(here)}
        found += here
    return found


def _line(start: tuple[int, int], end: tuple[int, int], look: str) -> str:
    x1, y1, x2, y2 = start[0] + BOX, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    bend = max((x2 - x1) // 2, 18)
    css = ' class="served"' if look == "served" else ""
    return f'<path{css} d="M{x1},{y1}C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"/>'


def _drawn(box: Box, x: int, y: int) -> str:
    texts = [
        f'<text class="{css}" x="{x + 8}" y="{y + 16 + 16 * number}">{_text(_cut(line))}</text>'
        for number, (css, line) in enumerate(zip(("kind", "where", "small"), box.lines, strict=True))
    ]
    whole = _text("; ".join(box.lines))
    return (
        f'<g class="{box.look}"><title>{whole}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}"/>{"".join(texts)}</g>'
    )


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def _tree(boxes: Sequence[Box]) -> str:
    """The boxes from top to bottom, each below the last of those that it was made of."""
    columns = _columns(boxes)
    below: dict[str, list[Box]] = {}
    for box in boxes:
        if box.id != SUBJECT:
            above = [one for one in box.before if columns[one] < columns[box.id]]
            below.setdefault(max(above, key=columns.__getitem__, default=SUBJECT), []).append(box)
    return f'<div class="tree">{_branch([boxes[0]], below)}</div>'


def _branch(boxes: Sequence[Box], below: Mapping[str, Sequence[Box]]) -> str:
    rows = []
    for box in boxes:
        first, where, third = map(_text, box.lines)
        inside = f'<b>{first}</b> {where} <span class="small">{third}</span>'
        children = _branch(below[box.id], below) if box.id in below else ""
        rows.append(f'<li><div class="box {box.look}">{inside}</div>{children}</li>')
    return f"<ul>{''.join(rows)}</ul>"


def _table(answer: Answer) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("what", "where", "aliases", "by"))
    rows = "\n".join(map(_row, answer.items[:MOST_ROWS]))
    left = len(answer.items) - MOST_ROWS
    more = f"<p>{left:,} more are in {names.IMPACT_FILE}.</p>" if left > 0 else ""
    opened = " open" if len(answer.items) <= MOST_BOXES else ""
    return (
        f"<details{opened}><summary>All {len(answer.items):,}</summary>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>{more}</details>"
    )


def _row(item: Item) -> str:
    what = f"{_text(item.kind)} {_text(item.trial)}" if item.kind == TRIAL else _text(item.kind)
    digest = f" {item.digest[:SHORT]}" if item.digest else ""
    cells: Iterable[str] = (
        what,
        f"<code>{_text(item.location + digest)}</code>",
        f'<span class="served">{"served, " if item.served else ""}</span>{_text(", ".join(item.aliases))}',
        f'<span class="when">{_text(by(item))}</span>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
