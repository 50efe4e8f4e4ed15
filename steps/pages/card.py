"""The model card: the description of a version in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provenance.pipeline.invocation import for_others
from provenance.record.run_page import spaced
from steps.pages import city
from taxi.dataset.manifest import Manifest
from taxi.evaluation.bootstrap import rmse_interval
from taxi.evaluation.evaluate import Evaluation
from taxi.evaluation.promotion_rule import Decision
from taxi.evaluation.slices import FEWEST_TRIPS, Slice
from taxi.features.feature_set import WHEN, FeatureSet

LENGTH = 5000  # characters MLflow keeps of a description
REASON_LENGTH = 600  # all of it is a tag of the version
WORST = 3  # slices shown of each kind
WHEN_TEXT = {"booking": "when the trip is booked", "dropoff": "when it has ended"}


@dataclass(frozen=True)
class Subject:
    """What the card is about. `judged` is the model as it was chosen, `registered` as it was registered."""

    family: str
    feature_set: FeatureSet
    manifest: Manifest
    trial: int
    select: str
    refit: str
    val_metrics: dict[str, float]
    judged: Evaluation
    registered: Evaluation
    decision: Decision
    search_run_id: str
    run_id: str
    experiment_id: str
    made_up: bool = False


def card(of: Subject) -> str:
    """Markdown, its tables plain ones: MLflow shows no others."""
    parts = [_data(of), _features(of.feature_set), _figures(of), _slices(of.registered), _limits(of), _origin(of)]
    head = f"How long a {of.manifest.taxi} taxi trip takes: {of.family} on features `{of.feature_set.name}`."
    what = "it became champion" if of.decision.promote else "it stayed candidate"
    when = f"When it was registered **{what}**: {of.decision.reason[:REASON_LENGTH]}."
    text = spaced("\n\n".join([*city.note(of.made_up), head, when, *parts]))
    return text if len(text) <= LENGTH else text[: LENGTH - 4] + " ..."


def became(decision: Decision) -> str:
    """What came of it, in a sentence, for the page of the run."""
    alias = "It became champion" if decision.promote else "It stayed candidate"
    return f"{alias}: {decision.reason[:REASON_LENGTH]}."


def _data(of: Subject) -> str:
    rows = [(split, of.manifest.month_span(split), f"{of.manifest.rows(split):,}") for split in of.manifest.splits]
    return _table(("", "months", "trips"), rows)


def _features(feature_set: FeatureSet) -> str:
    lines = []
    for when in WHEN:
        columns = [column.name for column in feature_set.columns if column.known == when]
        if columns:
            lines.append(f"- known {WHEN_TEXT[when]}: {', '.join(f'`{name}`' for name in columns)}")
    return "\n".join(["Features:", "", *lines])


def _figures(of: Subject) -> str:
    """Chosen on validation, judged on test; and the same test trips for what was fitted again afterwards."""
    found: list[tuple[str, ...]] = [("RMSE on the validation months", f"{of.val_metrics['val_rmse']:.3f} min", "")]
    columns = [_column(of.judged), _column(of.registered)]
    found += [(name, *(column[name] for column in columns)) for name in columns[0]]
    fitted = "fitted on train" if of.refit == "train" else "registered: fitted on train and val"
    chosen = f"Trial {of.trial} of the search, chosen by {of.select} RMSE."
    again = ("It was judged, then fitted again with the same parameters on train and val, without another look at test."
             " The second column is that model on the same test trips." if of.refit != "train" else
             "It is registered as it was judged.")  # fmt: skip
    head = ("on the test months", "chosen: fitted on train", fitted)
    rows = found if of.refit != "train" else [row[:2] for row in found]
    return f"{chosen} {again}\n\n" + _table(head if of.refit != "train" else head[:2], rows)


def _column(judged: Evaluation) -> dict[str, str]:
    scores = judged.metrics("test")
    low, high = rmse_interval(judged.rows.day, judged.squared)
    return {
        "RMSE (95 % interval, by days)": f"{scores['test_rmse']:.3f} min ({low:.3f} to {high:.3f})",
        "mean absolute error": f"{scores['test_mae']:.3f} min",
        "R2": f"{scores['test_r2']:.3f}",
        "trips inside their 90 % interval": f"{scores['test_coverage']:.1%}",
        "mean width of the interval": f"{scores['test_interval_width']:.2f} min",
    }


def _slices(judged: Evaluation) -> str:
    rows = []
    for kind, slices in (("pickups at", judged.hours), ("pickups in", judged.zones)):
        large = [part for part in slices if part.trips >= FEWEST_TRIPS]
        rows += [_slice(kind, part) for part in sorted(large, key=lambda part: -part.rmse)[:WORST]]
    return "Largest errors on the test months:\n\n" + _table(("", "trips", "RMSE"), rows)


def _slice(kind: str, part: Slice) -> tuple[str, str, str]:
    return f"{kind} {part.name}", f"{part.trips:,}", f"{part.rmse:.2f} min"


def _limits(of: Subject) -> str:
    lines = [
        "It has seen trips of 1 to 60 minutes alone; of a longer one it says at most about an hour.",
        "Zones that no training trip went to, or that are no TLC zones, are answered by fallbacks.",
        "Intervals were learned of the errors on the validation months by the model that had not seen them"
        + (
            "; around the answers of the one that has, they are rather too wide than too narrow."
            if of.refit != "train"
            else "."
        ),
        "Re-evaluate on recent months: a city changes.",
    ]
    if of.feature_set.known == "dropoff":
        lines.insert(0, "It needs the metered distance, which is known when the trip has ended; for answers before the "
                        "trip, register one with `features=pickup`.")  # fmt: skip
    return "\n".join(["Limits:", "", *(f"- {line}" for line in lines)])


def _origin(of: Subject) -> str:
    def link(run_id: str) -> str:
        return f"[{run_id}](#/experiments/{of.experiment_id}/runs/{run_id})"

    command = for_others("reproduce", {"run_id": of.run_id, "depth": "all"})
    return (
        f"Registered by run {link(of.run_id)} of search {link(of.search_run_id)}. To make it again from the raw months "
        f"and compare every bit, in this project's folder after `make setup`:\n\n```\n{command}\n```"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
