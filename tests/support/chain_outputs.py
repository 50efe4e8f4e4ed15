"""What the steps of a chain made, by digest."""

from mlflow import MlflowClient
from mlflow.entities import Run

from provenance.record import run_tags


def made(client: MlflowClient, run_id: str) -> dict[str, dict[str, str]]:
    """Step -> its outputs' digests, of the chain `run_id`; also of steps that it did not run again."""
    steps = run_tags.steps(client.get_run(run_id).data.tags)
    return {step: digests(client.get_run(step_run)) for step, step_run in steps.items()}


def digests(run: Run) -> dict[str, str]:
    """Name of an output -> its digest."""
    return {name: output.digest for name, output in run_tags.outputs(run.data.tags).items()}
