from provenance.pipeline.step_run import StepRun
from steps.models import models


def train(step: StepRun) -> None:
    """Fit one logistic regression and log it."""
    wines = models(step.folder(step.input("dataset")))
    step.keep(wines.fit({"C": float(step.params["C"])}, step.run_id))
