"""The page of a refresh: what was decided, why, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from provenance.record import names
from provenance.record.run_page import version_link
from provenance.record.validation import cell
from taxi.evaluation.drift_report import Drift, markdown
from taxi.evaluation.refresh_rule import News, RefreshDecision


@dataclass(frozen=True)
class Retrained:
    """The run of `main`, the version it registered, and what the gate decided: `became` champion or candidate."""

    run_id: str
    name: str
    version: str
    became: str
    why: str

    def __str__(self) -> str:
        return f"version {self.version} is {self.became}: {self.why}"


def about(
    model_name: str, champion: str | None, decision: RefreshDecision, retrained: Retrained | None
) -> tuple[str, ...]:
    """The result in one line."""
    reason = cell(decision.reason)
    if retrained is None:
        return (f"**Version {champion} of {cell(model_name)} stays**: {reason}.",)
    link = version_link(retrained.name, retrained.version)
    became = "became champion" if retrained.became == names.CHAMPION else "stays a candidate"
    return (f"**Trained anew; {link} {became}**: {cell(retrained.why)}.", f"Trained because {reason}.")


def report(unusable: tuple[str, ...], news: News, drift: Drift | None, model: str) -> str:
    """The months, and the drift report of `model` if there is one."""
    lines = [f"- {cell(line)}" for line in unusable]
    kinds = {"new": news.new, "changed since": news.moved, "not to be compared": news.gone}
    lines += [f"- months {kind}: {', '.join(months)}" for kind, months in kinds.items() if months]
    return "\n".join([*lines, "", markdown(drift, model) if drift else ""])
