"""Records of runs, written by hand: a train run on a locked environment, and the same with one thing changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient

from provenance.record import names, run_tags
from provenance.record.lineage import Input, Lineage, Output
from provenance.reproduce.verdict import Made

A, B, C = "a" * 64, "b" * 64, "c" * 64
ENVIRONMENT = {
    "lock_digest": A,
    "python": "3.11.7",
    "packages": {"numpy": "2.4.6", "click": "8.1.0", "xgboost": "3.2.0"},
    "differences": [],
    "extras": {"pytest": "9.2.0"},
    "platform": "Linux-6.1-x86_64-with-glibc2.36",
    "machine": "x86_64",
    "cpu": "A CPU",
    "cores": 2,
    "manager": "uv",
    "threads": {},
}
RECORD = Lineage(
    step="train",
    params={"model": "linear", "params": "default", "seed": "42"},
    placement={},
    inputs=(Input("dataset", "runs:/" + "1" * 32 + "/dataset", A),),
    code={"steps/train.py": A, "taxi/models/linear.py": B},
    code_digest=C,
    environment=ENVIRONMENT,
    environment_key=A,
    source={"commit": "0" * 40, "remote": None, "branch": "main", "folder": "", "dirty": False, "patch": None,
            "tree": None, "note": None},
    outputs=(Output("model", "models:/m-1", A),),
)  # fmt: skip
METRICS = {"val_rmse": 5.5, "val_mae": 3.25}


def recorded(client: MlflowClient, run_id: str) -> Lineage:
    """The lineage.json of a run."""
    return Lineage.from_json(Path(client.download_artifacts(run_id, names.LINEAGE_FILE)).read_text())


def made(run_id: str = "1" * 32, metrics: dict | None = None, model: str = A, **changes) -> Made:
    """A run of RECORD, whose model has digest `model`."""
    record = replace(RECORD, outputs=(Output("model", "models:/m-2", model),), **changes)
    return Made(run_id, record, METRICS if metrics is None else metrics)


def of_months(params: dict[str, str], *inputs: Input, **changes) -> Lineage:
    """A record of preprocess, with these parameters beside those that it needs."""
    wanted = {"features": "full", "taxi": "green", "test_months": "none", "train_months": "2023-01",
              "val_months": "2023-02"}  # fmt: skip
    return replace(RECORD, step="preprocess", params=wanted | params, inputs=inputs, **changes)


def reading(role: str, uri: str, earlier: bool = False) -> dict[str, str]:
    """The tags of a run that read `uri`; as earlier code wrote them with `earlier`."""
    return {f"{run_tags.EARLIER_INPUT}{role}.uri": uri} if earlier else {names.INPUTS: json.dumps({role: f"{uri} {A}"})}


def making(name: str, uri: str, earlier: bool = False) -> dict[str, str]:
    """The tags of a run that made `uri`."""
    return {f"{run_tags.EARLIER_OUTPUT}{name}.uri": uri} if earlier else {names.MADE: json.dumps({name: f"{uri} {A}"})}


def environment(**changes) -> dict:
    """ENVIRONMENT with some facts changed."""
    return {**ENVIRONMENT, **changes}
