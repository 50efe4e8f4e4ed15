"""What a chain of steps ended with."""

import mlflow

from provenance.record import names
from provenance.reproduce.verdict import measured
from provenance.reuse.cache import read_lineage
from tests.support.project import Workplace


def end_of(place: Workplace, uri: str = "") -> tuple:
    """What an undisturbed chain and a disturbed one must agree on: the version's content, the trials', the metrics.

    `uri`: of the server through which it was made, if any.
    """
    client = place.client
    mlflow.set_tracking_uri(uri or place.store)  # artifacts are fetched by MLflow's own notion of the store
    query = f"tags.`{names.STEP}` = 'register' and attributes.status = 'FINISHED' and tags.`{names.OUTPUTS}` != ''"
    run = client.search_runs(["0"], query, max_results=1)[0]
    lineage = read_lineage(run)
    search = lineage.inputs[0].digest
    return lineage.outputs[0].digest, search, measured(run.data.metrics)
