"""The final fit: the chosen parameters are fitted again on training and validation trips before registration."""

from dataclasses import replace

from runtime.scratch import scratch_folder
from taxi.dataset.dataset import Dataset
from taxi.models.families import FAMILIES
from taxi.models.family import Progress
from taxi.models.predictor import Predictor


def refitted(predictor: Predictor, dataset: Dataset, seed: int, progress: Progress | None = None) -> Predictor:
    """The same parameters, boosting rounds included, on train and val; features fitted anew on both.

    Intervals stay as they were learned: of errors on validation months by the model that had not seen them. The new
    one has seen more, so they are rather too wide than too narrow; how many test trips are inside is measured.
    `progress` is told rounds or trees done and to do.
    """
    newer, estimator = dataset.refitted("train", "val"), predictor.estimator
    with scratch_folder("bins") as scratch:
        both = newer.split("train", "val", scratch=scratch)
        fitted = FAMILIES[estimator.family].fit(both, None, estimator.params, seed, progress=progress)
    return replace(predictor, features=newer.features, estimator=fitted)
