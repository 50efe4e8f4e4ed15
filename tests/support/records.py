"""Records of runs, written by hand: a train run on a locked environment, and the same with one thing changed."""

from __future__ import annotations

from dataclasses import replace

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


def made(run_id: str = "1" * 32, metrics: dict | None = None, model: str = A, **changes) -> Made:
    """A run of RECORD, whose model has digest `model`."""
    record = replace(RECORD, outputs=(Output("model", "models:/m-2", model),), **changes)
    return Made(run_id, record, METRICS if metrics is None else metrics)


def of_months(params: dict[str, str], *inputs: Input, **changes) -> Lineage:
    """A record of preprocess, with these parameters beside those that it needs."""
    wanted = {"features": "full", "taxi": "green", "test_months": "none", "train_months": "2023-01",
              "val_months": "2023-02"}  # fmt: skip
    return replace(RECORD, step="preprocess", params=wanted | params, inputs=inputs, **changes)


def environment(**changes) -> dict:
    """ENVIRONMENT with some facts changed."""
    return {**ENVIRONMENT, **changes}
