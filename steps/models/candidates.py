"""The candidates of an hpo run: the best trials, their models and their dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import open_verified
from provenance.record.lineage import Input, Output
from provenance.reuse.cache import Hit
from provenance.reuse.consistency import PREDICTOR, candidates, inconsistent
from provenance.store.locations import is_stored
from taxi.dataset.dataset import Dataset
from taxi.evaluation.metrics import metrics
from taxi.evaluation.slices import Rows
from taxi.models.intervals import Intervals
from taxi.models.predictor import Predictor


@dataclass(frozen=True)
class Candidate:
    """One trial of the search, its validation metrics (minutes) and the record of its logged model."""

    trial: int
    metrics: dict[str, float]
    model: Output

    def predictor(self) -> Predictor:
        """From its data alone: none of the code that came with it runs. Raises ArtifactError when it was altered."""
        with open_verified(self.model) as folder:
            return Predictor.load(folder / PREDICTOR)

    def predictor_with_intervals(self, dataset: Dataset) -> Predictor:
        """With intervals learned of the validation months, to which the trial was not fitted."""
        predictor, rows = self.predictor(), Rows.read(dataset.batches("val"))
        intervals = Intervals.learn(rows.y, predictor.predict_valid(dataset.batches("val")))
        return replace(predictor, intervals=intervals)


@dataclass(frozen=True)
class Candidates:
    """The best trials of hpo run `run_id`, best first."""

    run_id: str
    dataset: Input
    family: str
    features: str
    seed: int
    best: tuple[Candidate, ...]

    @classmethod
    def read(cls, session: Session, search_uri: str) -> Candidates:
        """Of the output ``runs:/<id>/search``. Raises RunError or ArtifactError."""
        made = session.hit(search_uri.split("/")[1])
        if wrong := inconsistent(session.client, made.run_id, made.lineage, session.pipeline):
            raise RunError(f"{'; '.join(wrong)}\n Do not register anything of it: run hpo again.")
        dataset = _dataset(session, made)
        found = candidates(made.outputs[names.SEARCH])
        best = tuple(
            Candidate(
                row["trial"],
                {name: value for name, value in row.items() if name.startswith("val_")},
                made.outputs[f"{names.MODEL}-{row['trial']}"],
            )
            for row in found["candidates"]
        )
        seed = int(made.lineage.params["seed"])
        return cls(made.run_id, dataset, found["family"], found["features"], seed, best)

    def choose(self, top_n: int, select: str, dataset: Dataset, rows: Rows) -> Candidate:
        """The best of the `top_n` by validation RMSE; by that on `rows`, the test months, when `select` is test."""
        best = self.best[:top_n]
        if select != "test":
            return best[0]

        def test_rmse(candidate: Candidate) -> float:
            predicted = candidate.predictor().predict_valid(dataset.batches("test"))
            return metrics(rows.y, predicted, "test")["test_rmse"]

        return min(best, key=test_rmse)


def _dataset(session: Session, made: Hit) -> Input:
    """The dataset that a search read, which must be what a preprocess run left with the same digest. Or RunError."""
    dataset = next(item for item in made.lineage.inputs if item.role == names.DATASET)
    if not is_stored(dataset.uri):
        raise RunError(f"run {made.run_id} read its dataset at {dataset.uri:.200}, which is no artifact of this store\n"
                       " Make it with preprocess, and search again: nothing else is followed.")  # fmt: skip
    if not (maker := session.named(dataset.uri, "preprocess", names.DATASET)):
        raise RunError(f"{dataset.uri} is no output of a preprocess run\n Search again on one.")
    if (now := maker.outputs[names.DATASET].digest) != dataset.digest:
        raise RunError(f"run {made.run_id} searched on dataset {dataset.digest:.12}, and run {maker.run_id} left "
                       f"{now:.12}, say their records\n One of them was altered: run hpo again.")  # fmt: skip
    return dataset
