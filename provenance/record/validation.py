"""What any server may have sent: whether a record has the form of one, and text of it as a person may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance.record.lineage import Lineage

TABLES = ("params", "placement", "code", "key_inputs")  # of text by text
STORE = ("runs:/", "models:/")  # where outputs lie; elsewhere a server could have any file or address read


def malformed(lineage: Lineage) -> str | None:
    """What of a Lineage is not of its type, lies elsewhere or cannot be shown on one line; None when nothing is."""
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
    """`text` with a blank for each line end, control character, direction mark or half of a letter in it.

    What a server, a record or a user says reaches a terminal by this alone: no colours, no moves, no second line.
    """
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def one_line(text: str) -> str:
    """`text` as `printable` gives it, words one blank apart."""
    return " ".join(printable(text).split())


def without_remedy(error: Exception) -> str:
    """What an error says happened: its first line. What to do about it stands below."""
    return str(error).partition("\n")[0]


def cell(text: str) -> str:
    """`text` in a Markdown table or list: one line, no markup of its own."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("[", "\\[")


def code(text: str) -> str:
    """`text` in a Markdown table, as code: nothing in it can end the code or the cell."""
    return f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
