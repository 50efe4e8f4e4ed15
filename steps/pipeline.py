"""The steps of this project: what each depends on, and the raw months that no step makes."""

from __future__ import annotations

from collections.abc import Mapping

from provenance.pipeline.declaration import Metric
from provenance.pipeline.graph import AUTO, Graph, Step
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.lineage import Input
from steps.models.judged_on import city_of, dataset_behind, model_name_for, model_name_of
from taxi.months.month import parse_months

PREPROCESS = Step(
    "preprocess", ("taxi", "train_months", "val_months", "test_months", "features"), placement=("source", "engine")
)
TRAIN = Step(
    "train",
    ("model", "params", "seed", "fit_workers"),
    placement=("engine",),
    needs=("dataset", "preprocess", names.DATASET),
)
HPO = Step(
    "hpo",
    ("model", "max_evals", "batch", "seed", "top_n", "trial_timeout", "stop_after"),
    placement=("workers", "engine"),
    needs=("dataset", "preprocess", names.DATASET),
)
REGISTER = Step(
    "register", ("top_n", "select", "refit", "model_name"), needs=("search", "hpo", names.SEARCH), registers=True
)

STEPS = {step.name: step for step in (PREPROCESS, TRAIN, HPO, REGISTER)}
CHAIN = ("preprocess", "train", "hpo", "register")
SPLITS = ("train", "val", "test")
SEARCH_METRIC = Metric("val_rmse", "min")  # by which a search compares its trials
ALONE = {"fit_workers": 1}  # how a chain fits, which has no parameter for it


def months(params: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Split name -> its months. Raises MonthsError when a month is in two splits."""
    split_months = {split: parse_months(str(params[f"{split}_months"])) for split in SPLITS}
    seen: dict[str, str] = {}
    for split, wanted in split_months.items():
        for month in wanted:
            if month in seen:
                raise MonthsError(
                    f"{month} is both a {seen[month]} and a {split} month: a model would be judged on what it saw\n"
                    f" Choose other {seen[month]}_months or {split}_months."
                )
            seen[month] = split
    return {split: wanted for split, wanted in split_months.items() if wanted}


class MonthsError(ValueError):
    """Months that cannot be split as asked."""


class TripGraph(Graph):
    """The steps of this project; what no step made are raw months."""

    steps, fixed = STEPS, ALONE

    def __init__(self, session: Session, params: Mapping[str, object]):
        super().__init__(session, params)
        if self.params.get("search", AUTO) == AUTO and self.params.get("model_name") == AUTO:
            self.params["model_name"] = model_name_for(str(self.params["source"]))

    def completed_by(self, step: Step, given: Input) -> None:
        """The registered model's name, of a search that was named."""
        if step is REGISTER and self.params["model_name"] == AUTO:  # of a search that was named
            self.params["model_name"] = model_name_of(city_of(self.session, dataset_behind(self.session, given)))

    def external_inputs(self) -> tuple[tuple[Input, ...], dict[str, str]]:
        from taxi.sources.locate import known_digests

        source, taxi = str(self.params["source"]), str(self.params["taxi"])
        wanted = sorted({month for split in months(self.params).values() for month in split})
        digests = known_digests(source, taxi, wanted, **self.session.fetch)
        return tuple(Input(month, source, digest) for month, digest in digests.items()), digests
