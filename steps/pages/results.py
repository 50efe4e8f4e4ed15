"""What the page of a step's run says: the result in one line, then what else there is. The same for a reused run.

Made of the record and the metrics alone, so that nothing is said that they do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from provenance.pipeline.invocation import for_others
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.registry.aliases import version_of
from provenance.reuse.cache import Hit
from steps import names as trip_names
from steps.models.judged_on import MADE_UP
from steps.pages import city

HEADLINE = ("registered_test_rmse", "test_rmse", "val_rmse", "train_rmse")  # of a logged model
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def preprocess(session: Session, hit: Hit) -> tuple[str, ...]:
    """Of a dataset: how many trips of which months."""
    rows = {split: int(hit.metrics[f"{split}_rows"]) for split in SPLITS if f"{split}_rows" in hit.metrics}
    parts = [f"{count:,} {SPLITS[split]} ({hit.lineage.params[f'{split}_months']})" for split, count in rows.items()]
    result = f"**{sum(rows.values()):,} {hit.lineage.params['taxi']} trips**: {', '.join(parts)}."
    return (result, *city.note(city.is_made_up(hit.lineage)))


def train(session: Session, hit: Hit) -> tuple[str, ...]:
    """Of a fitted model: its validation RMSE."""
    val, learned = hit.metrics["val_rmse"], hit.metrics["train_rmse"]
    family = hit.lineage.params["model"]
    return (f"Validation RMSE **{val:.4f} minutes** ({family}); {learned:.4f} on the training months.",)


def hpo(session: Session, hit: Hit) -> tuple[str, ...]:
    """Of a search: its best trial, and the command that fits it alone."""
    family, best = hit.lineage.params["model"], hit.metrics["val_rmse"]
    params = f"{hit.outputs[names.SEARCH].uri}/{names.BEST_PARAMS_FILE}"
    return (
        f"Validation RMSE **{best:.4f} minutes** ({family}): trial {hit.metrics['best_trial']:.0f}, the best.",
        f"To fit it alone: `{for_others('train', {'model': family, 'params': params})}`",
    )


def register(session: Session, hit: Hit) -> tuple[str, ...]:
    """Of a registered version: its RMSE on the test months."""
    tags = session.client.get_model_version(*version_of(hit)).tags
    return (tested(hit.metrics), *city.note(tags.get(trip_names.CITY, "").startswith(MADE_UP)))


def main(session: Session, made: dict[str, Hit]) -> tuple[str, ...]:
    """Of the chain: the version and how good it is, against the baseline and the floor."""
    tested_on, baseline = made["register"].metrics, made["train"].metrics["val_rmse"]
    floor = made["preprocess"].metrics.get("floor_rmse")
    above = f" The floor, a perfect model's, is {floor:.4f}." if floor else ""
    compared = f"Validation RMSE {tested_on['val_rmse']:.4f}; of the baseline {baseline:.4f}.{above}"
    return (tested(tested_on), compared, *city.note(city.is_made_up(made["preprocess"].lineage)))


def fitted(family: str, taxi: str, months: str, metrics: Mapping[str, float], made_by: str) -> str:
    """The description of a logged model: its result, what it is, and a link to who made it."""
    scores = ", ".join(f"{name} **{metrics[name]:.4f}**" for name in HEADLINE if name in metrics)
    return f"{scores} minutes: {family} on {taxi} trips of {months}, by {made_by}."


def tested(metrics: dict[str, float]) -> str:
    """The RMSE on the test months, of the model as it was judged and as it was registered."""
    judged, registered = metrics["test_rmse"], metrics["registered_test_rmse"]
    again = "" if registered == judged else f"; {registered:.4f} after refitting on train and val"
    return f"Test RMSE **{judged:.4f} minutes**{again}."
