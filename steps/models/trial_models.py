"""The models of a search's trials: checked, fitted once more, logged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from provenance.record import names
from provenance.record.lineage import Output
from search.trial import TrialResult, estimator_folder
from steps import names as trip_names
from taxi.dataset.dataset import Dataset
from taxi.dataset.stored_split import StoredSplit
from taxi.models.objective import Objective


@dataclass
class TripModels:
    """Of the search of hpo run `run_id` on `dataset`."""

    run_id: str
    dataset: Dataset
    objective: Objective

    @property
    def family(self) -> str:
        """The family of the search's models."""
        return self.objective.family

    @cached_property
    def val(self) -> StoredSplit:
        """The validation months."""
        return self.dataset.split("val")

    def import_libraries(self) -> None:
        """Import what a model is loaded and logged with."""
        self.objective.import_modules()
        from provenance.registry import logged_model  # noqa: F401

    def verify(self, result: TrialResult, files: dict[str, bytes]) -> bool:
        """Whether the files are a model that has the scores on the validation months which the result says."""
        from taxi.models.objective import rescored

        return rescored(self.family, files, self.val) == (result.metrics, result.best_iteration)

    def fit_again(self, result: TrialResult) -> TrialResult:
        """The same trial once more, in this process."""
        return self.objective((self.dataset.split("train"), self.val), result.number, result.params)

    def log(self, result: TrialResult, files: dict[str, bytes], run_id: str) -> Output:
        """One of the best trials as a logged model of its nested run."""
        from provenance.record.run_page import run_link
        from steps.models import logged_model
        from steps.pages import results
        from taxi.models.families import load
        from taxi.models.predictor import Predictor

        manifest = self.dataset.manifest
        with estimator_folder(files) as folder:
            predictor = Predictor(manifest.taxi, self.dataset.features, load(self.family, folder))
            tags = {
                names.FAMILY: self.family,
                trip_names.FEATURES: manifest.feature_set,
                trip_names.TRIAL: str(result.number),
            }
            name = f"{logged_model.model_name(predictor, manifest.months('train'))}-trial-{result.number}"
            made_by = f"{run_link(run_id, f'trial {result.number}')} of {run_link(self.run_id)}"
            about = results.fitted(self.family, manifest.taxi, manifest.month_span("train"), result.metrics, made_by)
            return logged_model.log(predictor, run_id, name, result.params, result.metrics, tags, manifest, about)[1]
