"""The champion of a registered model, and how it was made: its months by digest, and the parameters of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.lineage import Input
from provenance.registry import aliases
from provenance.reuse.cache import Hit
from steps.models.registered import Registered, dataset_of, registered
from taxi.evaluation.refresh_rule import Lengths
from taxi.months.month import TAXIS
from taxi.months.splits import months


@dataclass(frozen=True)
class Champion:
    """`params`: of the steps that made it, as they were recorded. `made_of`: month -> digest."""

    version: str
    model: Registered
    dataset: Input
    params: Mapping[str, str]
    made_of: Mapping[str, str]

    @property
    def lengths(self) -> Lengths:
        """How many months each of its splits has."""
        return Lengths(**{split: len(names) for split, names in months(self.params).items()})


def champion(session: Session, model_name: str, made_by_code: bool) -> Champion | None:
    """The champion, and what the records of the runs behind it say; None if there is none.

    made_by_code: its months are compared with generated ones, which are known by their recipe. Raises ModelUriError or
    RunError.
    """
    version = aliases.holder(session.client, model_name, names.CHAMPION)
    if version is None:
        return None
    model = registered(session, f"models:/{model_name}/{version.version}")
    dataset = dataset_of(session, model)
    made = session.named(dataset.uri, "preprocess", names.DATASET)
    if made is None:
        raise _unknown(model.uri, "its dataset was given as a folder")
    behind = [made, *_fitted(session, model)]
    params = {name: text for hit in behind for name, text in hit.lineage.params.items()}
    made_of = made.lineage.keyed_inputs if made_by_code else {item.role: item.digest for item in made.lineage.inputs}
    try:
        split = months(params)
        if params["taxi"] not in TAXIS:
            raise ValueError(f"there are no {params['taxi']!a:.40} taxis")
    except (KeyError, ValueError) as error:
        raise _unknown(model.uri, str(error).partition("\n")[0]) from error
    if {month for names in split.values() for month in names} != made_of.keys() or not made_of:
        raise _unknown(model.uri, "its record names other months than its parameters")
    return Champion(str(version.version), model, dataset, params, made_of)


def _fitted(session: Session, model: Registered) -> list[Hit]:
    """The run of the search behind the model, if there is one, and the run that speaks for the model."""
    speaks = session.hit(model.run_id)
    searches = [item.uri for item in speaks.lineage.inputs if item.role == names.SEARCH]
    found = [session.named(uri, "hpo", names.SEARCH) for uri in searches]
    return [*(hit for hit in found if hit), speaks]


def _unknown(uri: str, why: str) -> RunError:
    return RunError(f"no run says from which months {uri} was made: {why}\n Run main, and refresh what it registers.")
