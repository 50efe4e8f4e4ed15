"""Finished runs written by hand, as a step leaves them: record, tags and outputs that agree."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from provenance.record import names
from provenance.record.artifacts import log_folder
from provenance.record.lineage import Input, Lineage, Output
from provenance.reuse import cache
from tests.support.records import A, B

TRAIN = Lineage(
    step="train",
    params={"model": "xgboost", "seed": "42"},
    placement={},
    inputs=(Input("dataset", "runs:/" + "1" * 32 + "/dataset", A),),
    code={"steps/train.py": A},
    code_digest=A,
    environment={"differences": [], "python": "3.11.7"},
    environment_key="e",
    source={"commit": "a" * 40, "dirty": False},
).with_key()


def folder_of(client, run_id: str, name: str, files: Mapping[str, str]) -> Output:
    """An output of run `run_id` that holds `files`."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_text(text)
        return log_folder(client, run_id, Path(folder), name)


def finish(client, run_id: str, lineage: Lineage, *outputs: Output) -> Lineage:
    """Write the record and the tags of a finished run."""
    lineage = replace(lineage, outputs=outputs)
    client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    metrics = cache.metrics_digest(client.get_run(run_id).data.metrics)
    marks = {names.OUTPUTS: lineage.outputs_digest(), names.METRICS: metrics}
    for name, value in (lineage.tags() | marks).items():
        client.set_tag(run_id, name, value)
    client.set_terminated(run_id)
    return lineage


def begin(client, experiment: str = "trips", **tags: str) -> str:
    return client.create_run(client.get_experiment_by_name(experiment).experiment_id, tags=tags).info.run_id


def left(client, lineage: Lineage = TRAIN, experiment: str = "trips") -> str:
    """A run of `lineage` with one output, ``dataset``; its id."""
    run_id = begin(client, experiment)
    finish(client, run_id, lineage, folder_of(client, run_id, "dataset", {"manifest.json": "{}", "part/rows": "trips"}))
    return run_id


SEARCH = replace(
    TRAIN, step="hpo", params={"model": "xgboost", "max_evals": "4", "seed": "42"}, code={"steps/hpo.py": B}
).with_key()


def searched(client, lineage: Lineage = SEARCH, estimator: str = "trees", uri: str = "", **changes: object) -> str:
    """A run of `lineage` with ``search`` and the model of trial 3, at `uri`; `changes` are of candidates.json alone."""
    from search.trial import files_digest

    run_id = begin(client)
    model = folder_of(client, run_id, "model-3", {"artifacts/predictor/estimator/model.json": estimator})
    row = {"trial": 3, "model_digest": files_digest({"model.json": estimator.encode()}), "val_rmse": 5.0}
    listed = {"family": "xgboost", "features": "full", "dataset": lineage.inputs[0].digest, "candidates": [row]}
    search = folder_of(client, run_id, "search", {"candidates.json": json.dumps({**listed, **changes})})
    finish(client, run_id, lineage, search, replace(model, uri=uri or model.uri))
    return run_id
