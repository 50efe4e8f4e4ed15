"""This project, declared: its steps, what each needs of which, and what its results are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.pipeline.declaration import Metric, Need, Parameters, Pipeline, Step
from provenance.record import names
from steps.names import MODEL_NAME, SAMPLE_MODEL_NAME
from steps.raw_months import RawMonths

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Input


def _model_name(session: Session, params: Parameters, inputs: tuple[Input, ...]) -> Mapping[str, str]:
    """The registered model that `auto` stands for: that of the trips behind the search."""
    if params["model_name"] != "auto":
        return {}
    from steps.models.judged_on import city_of, dataset_behind, model_name_of

    return {"model_name": model_name_of(city_of(session, dataset_behind(session, inputs[0])))}


DATASET = Need("dataset", "preprocess", names.DATASET)

PREPROCESS = Step(
    "preprocess",
    params=("taxi", "train_months", "val_months", "test_months", "features"),
    placement=("source", "engine"),
    external=RawMonths(),
)
TRAIN = Step("train", params=("model", "params", "seed", "fit_workers"), placement=("engine",), needs=(DATASET,))
HPO = Step(
    "hpo",
    params=("model", "max_evals", "batch", "seed", "top_n", "trial_timeout", "stop_after"),
    placement=("workers", "engine"),
    needs=(DATASET,),
    searches=True,
)
REGISTER = Step(
    "register",
    params=("top_n", "select", "refit", "model_name"),
    needs=(Need("search", "hpo", names.SEARCH),),
    registers=True,
    complete=_model_name,
)

SEARCH_METRIC = Metric("val_rmse", "min")  # by which a search compares its trials

PIPELINE = Pipeline(
    root=Path(__file__).resolve().parents[1],
    steps=(PREPROCESS, TRAIN, HPO, REGISTER),
    headline=(
        Metric("test_rmse", "min"),
        SEARCH_METRIC,
        Metric("val_mae", "min"),
        Metric("val_r2", greater_is_better=True),
    ),
    keyed=("taxi", "search", "steps.models"),
    chains=("main", "course"),
    fixed={"fit_workers": "1"},
    registered_models={MODEL_NAME: "", SAMPLE_MODEL_NAME: ", of the sample's made-up city"},
)
