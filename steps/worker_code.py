"""What a cluster's workers are given of this project: the recorded code that months, trials and fits need."""

from provenance.pipeline.step_run import StepRun
from provenance.record.code import closure
from provenance.store.project_identity import project_name
from search.engines.shipping import Code
from steps.pipeline import PIPELINE

PACKAGES = ("taxi", "search", "runtime")  # workers know nothing of MLflow


def worker_code(step: StepRun) -> Code:
    """The same for every step of one state of the code, so that those that run side by side go on doing so."""
    root = step.session.root
    paths = {path for name, other in PIPELINE.by_name.items() if "engine" in other.placement
             for path in closure(root, f"steps.{name}") if path.partition("/")[0] in PACKAGES}  # fmt: skip
    return Code(project_name(root) or "project", tuple(sorted(paths)))
