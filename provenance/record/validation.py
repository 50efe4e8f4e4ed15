"""Check a record that a server sent, and make text from a server safe to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.record.lineage import Lineage

TABLES = ("params", "placement", "code", "key_inputs")  # fields that map text to text
STORE = ("runs:/", "models:/")  # allowed locations of outputs; otherwise a record could name any file or address


def malformed(lineage: Lineage) -> str | None:
    """What is wrong with the form of a Lineage: a type, a location or unprintable text; None if it is sound."""
    for name in TABLES:
        table = getattr(lineage, name)
        if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
            return f"{name} is no table of texts"
    if type(lineage.engine) is not int or not all(path in lineage.code for path in lineage.keyed):
        return "engine is no number, or a module that the key covers is none of code"
    if not isinstance(lineage.source, dict) or not isinstance(lineage.environment, dict):
        return "source or environment is no table"
    shown = [lineage.step, lineage.key, lineage.code_digest, lineage.environment_key]
    shown += [*lineage.params, *lineage.placement, *lineage.code]
    shown += [text for item in lineage.inputs for text in (item.role, item.uri, item.digest)]
    shown += [text for item in lineage.outputs for text in (item.name, item.uri)]
    if not all(isinstance(text, str) and text.isprintable() for text in shown):
        return "a name or place is no printable text"
    elsewhere = next((item.uri for item in lineage.outputs if not item.uri.startswith(STORE)), None)
    return None if elsewhere is None else f"an output lies at {elsewhere}, not in the tracking store"


def printable(text: str) -> str:
    """`text` with a space instead of each line end, control character, direction mark or surrogate.

    All text from a server, a record or a user goes through this before it is printed. So it cannot change colours, move
    the cursor or start a new line.
    """
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def one_line(text: str) -> str:
    """`text` as `printable` returns it, with one space between words."""
    return " ".join(printable(text).split())


def without_remedy(error: Exception) -> str:
    """The first line of an error, which says what happened. The next lines say what to do."""
    return str(error).partition("\n")[0]


def cell(text: str) -> str:
    """`text` for a Markdown table or list: one line, without markup."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("[", "\\[")


def code(text: str) -> str:
    """`text` as code for a Markdown table. It cannot end the code or the cell."""
    return f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
