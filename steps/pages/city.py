"""What pages say of the made-up city of the sample."""

from __future__ import annotations

from provenance.record.lineage import Lineage

MADE_UP = (
    "**The city is made up**: this project generated the trips of the sample, and no taxi ever drove them. What was "
    "learned of them is not about New York."
)


def is_made_up(lineage: Lineage) -> bool:
    """Whether the months that the run read are the sample's."""
    return any(item.uri.split(":")[0] == "sample" for item in lineage.inputs)


def note(made_up: bool) -> tuple[str, ...]:
    """The paragraph about it, where there is something to say."""
    return (MADE_UP,) if made_up else ()
