from provenance.pipeline.step_run import StepRun
from provenance.registry.file_models import register_best
from steps.models import models
from steps.pipeline import JUDGED_BY
from wine.classifier import score


def register(step: StepRun) -> None:
    """Judge the best trial on the test split and register its model: champion if it beats the champion."""
    register_best(step, models, lambda files, folder: score(files, folder, "test"), JUDGED_BY, "The cultivar of a wine")
