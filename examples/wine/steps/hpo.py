from provenance.pipeline.search_run import run_search
from provenance.pipeline.step_run import StepRun
from search.space import Dimension
from search.study import Study
from steps.models import models
from steps.pipeline import CHOSEN_BY


def hpo(step: StepRun) -> None:
    """Search the strength of regularisation; the best trials are candidates."""
    wines = models(step.folder(step.input("dataset")))
    space = [Dimension("C", 0.00001, 10.0, "log")]
    run_search(step, Study(space, CHOSEN_BY, wines.objective), wines.engine(step), wines)
