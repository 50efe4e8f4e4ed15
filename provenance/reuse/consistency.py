"""Check whether the record of a finished run agrees with the content of its outputs."""

from __future__ import annotations

import json
import re

from mlflow import MlflowClient

from provenance.pipeline.declaration import Pipeline
from provenance.record import names
from provenance.record.artifacts import ArtifactError, small_file
from provenance.record.digest import JsonObject, digest_files
from provenance.record.lineage import Lineage, Output

PREDICTOR = "artifacts/predictor"  # the folder of a logged model that holds its data
_ESTIMATOR = f"{PREDICTOR}/estimator/"
_VERSION = re.compile(r"models:/([^/]+)/(\d+)")
_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})")


def inconsistent(client: MlflowClient, run_id: str, lineage: Lineage, pipeline: Pipeline) -> list[str]:
    """What contradicts the record of a run: a missing output, its search or its version.

    Raises ArtifactError if an output cannot be read, and MlflowException if a model version cannot.
    """
    made = {output.name: output for output in lineage.outputs}
    needed = {need.output for step in pipeline.steps for need in step.needs if need.step == lineage.step}
    found = [f"its record has no {name}" for name in sorted(needed - made.keys())]
    step = pipeline.by_name.get(lineage.step)  # None: an entry point that makes no output
    if step and step.searches and not found:
        found = _search(lineage, made)
    if step and step.registers:
        found += _version(client, run_id, lineage.key, made)
    return [f"run {run_id}: {problem}" for problem in found]


def candidates(search: Output) -> JsonObject:
    """The candidates of a search: the content of ``candidates.json``.

    Raises ArtifactError if it cannot be read or is malformed.
    """
    uri = f"{search.uri}/{names.CANDIDATES_FILE}"
    try:
        found: JsonObject = json.loads(small_file(uri))
        rows = found["candidates"]
        sound = rows and all(type(row["trial"]) is int and isinstance(row["model_digest"], str) for row in rows)
        if not sound or not isinstance(found["dataset"], str):
            raise TypeError("it lists no candidates")
        return found
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{uri} cannot be read ({error!r:.100})\n It was altered: do not use the run.") from error


def _search(lineage: Lineage, made: dict[str, Output]) -> list[str]:
    listed = candidates(made[names.SEARCH])
    read = {item.role: item.digest for item in lineage.inputs}.get(names.DATASET)
    found = []
    if listed["dataset"] != read:
        found.append(f"its search names dataset {listed['dataset']:.12}, its record names {read!s:.12}")
    for row in listed["candidates"]:
        model = made.get(f"{names.MODEL}-{row['trial']}")
        if model is None or estimator_digest(model) != row["model_digest"]:
            found.append(f"the model of trial {row['trial']} is not the one that its search lists")
    return found


def estimator_digest(model: Output) -> str:
    """The digest of a logged model's estimator, computed from the model's record. A trial's result has the same."""
    inside = [path for path in model.files if path.startswith(_ESTIMATOR)]
    return digest_files({path.removeprefix(_ESTIMATOR): model.files[path] for path in inside})


def _version(client: MlflowClient, run_id: str, key: str, made: dict[str, Output]) -> list[str]:
    match = _VERSION.fullmatch(made[names.VERSION].uri) if names.VERSION in made else None
    if not match:
        return ["its record has no model version"]
    source = _MODEL.fullmatch(client.get_model_version(match[1], match[2]).source or "")
    if not source or not is_of(client, source[1], run_id, key):
        return [f"{match[0]} was not made from the model of this run"]
    return []


def is_of(client: MlflowClient, model_id: str, run_id: str, key: str) -> bool:
    """Whether a logged model belongs to run `run_id`, whose key is `key`.

    It does if the run logged it, or if an unfinished run with the same key did. A run can be killed after it registered
    a version and before it wrote its record; then the next run with the key continues with its model.
    """
    logged_by = client.get_logged_model(model_id).source_run_id or ""
    if logged_by == run_id:
        return True
    tags = client.get_run(logged_by).data.tags
    return names.OUTPUTS not in tags and names.REUSED not in tags and tags.get(names.KEY) == key
