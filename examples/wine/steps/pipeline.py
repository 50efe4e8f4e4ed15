"""This project, declared: its steps, what each needs of which, and what its results are."""

from pathlib import Path

from provenance.pipeline.declaration import Metric, Need, Pipeline, Step
from provenance.pipeline.external_file import ExternalFile

DATA = ExternalFile("data set", "wine.csv", {"sklearn": ("sklearn.datasets", "data/wine_data.csv")})
DATASET = Need("dataset", "preprocess", "dataset")
CHOSEN_BY, JUDGED_BY = (Metric(f"{split}_accuracy", greater_is_better=True) for split in ("val", "test"))
PIPELINE = Pipeline(
    root=Path(__file__).resolve().parents[1],
    steps=(
        Step("preprocess", params=(), placement=("source",), external=DATA),
        Step("train", params=("C",), needs=(DATASET,)),
        Step("hpo", ("max_evals", "batch", "seed", "top_n"), ("workers",), needs=(DATASET,), searches=True),
        Step("register", params=("model_name",), needs=(Need("search", "hpo", "search"),), registers=True),
    ),
    headline=(JUDGED_BY, CHOSEN_BY),
    keyed=("wine", "search", "steps.models"),
    registered_models={"wine": ""},
)
