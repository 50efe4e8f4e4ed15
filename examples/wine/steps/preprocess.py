from provenance.pipeline.step_run import StepRun
from wine.classifier import write_splits


def preprocess(step: StepRun) -> None:
    """Split the data set in three: the artifact `dataset`."""
    with step.output_folder("dataset") as folder:
        write_splits(step.external_file(), folder)
