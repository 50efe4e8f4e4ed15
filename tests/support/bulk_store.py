"""Thousands of runs as steps leave them, written into a store's database at once: through a client each takes 50 ms."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from provenance.record import names
from provenance.record.digest import digest_json
from provenance.record.environment import Environment
from provenance.record.lineage import Input, Output
from tests.support.records import ENVIRONMENT, RECORD

PROJECT = "taxi of example.org/taxi"
DAY = 24 * 3600 * 1000
BEGAN = 1_780_000_000_000  # milliseconds: when the first run started; each next one starts a minute later
COMMIT = "c" * 40


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def packages(**versions: str) -> dict[str, object]:
    """ENVIRONMENT, with other versions of packages; their lock has another digest."""
    there = {**ENVIRONMENT["packages"], **versions}
    return {**ENVIRONMENT, "packages": there, "lock_digest": sha(json.dumps(there, sort_keys=True))}


@dataclass
class BulkStore:
    """A store's database file and the folder of its artifacts. `write` writes what was added since the last time.

    address: how the store names this folder; "" for its path.
    """

    database: Path
    artifacts: Path
    project: str = PROJECT
    address: str = ""
    count: int = 0
    _rows: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    _records: dict[str, str] = field(default_factory=dict)  # path -> text

    def _add(self, table: str, **values: object) -> None:
        self._rows.setdefault(f"{table} ({', '.join(values)})", []).append(tuple(values.values()))

    def _next(self, kind: str) -> str:
        self.count += 1
        return sha(f"{kind} {self.count}")[:32]

    def experiment(self, number: int, name: str, stage: str = "active") -> str:
        place = f"{self.address or self.artifacts}/{number}"
        self._add("experiments", experiment_id=number, name=name, artifact_location=place, lifecycle_stage=stage,
                  creation_time=BEGAN, last_update_time=BEGAN)  # fmt: skip
        return str(number)

    def run(self, step: str, inputs: Iterable[Input] = (), outputs: Mapping[str, str | tuple[str, str]] | None = None,
            *, experiment: str = "1", parent: str = "", reused: str = "", commit: str = COMMIT,
            environment: Mapping[str, object] | None = None, params: Mapping[str, str] | None = None,
            placement: Mapping[str, str] | None = None, status: str = "FINISHED", deleted: bool = False,
            models: Iterable[str] = (), user: str = "ada", tags: Mapping[str, str | None] | None = None,
            run_id: str = "") -> str:  # fmt: skip
        """A run of `step`; its id. outputs: name -> digest, or (digest, URI); without a URI it lies in the run."""
        run_id = run_id or self._next("run")
        environment = dict(environment or ENVIRONMENT)
        made = []
        for name, given in (outputs or {}).items():
            digest, uri = (given, f"runs:/{run_id}/{name}") if isinstance(given, str) else given
            made.append(Output(name, uri, digest))
        lineage = replace(
            RECORD,
            step=step,
            params=dict(params or {}),
            placement=dict(placement or {}),
            inputs=tuple(inputs),
            outputs=tuple(made),
            environment=environment,
            environment_key=Environment.from_dict(environment).key_part,
            source={**RECORD.source, "commit": commit},
        )
        lineage = replace(lineage, key=digest_json(lineage.components()))
        marks = {names.OUTPUTS: lineage.outputs_digest()} if status == "FINISHED" and not reused else {}
        marks |= {names.REUSED: reused} if reused else {}
        self._run(run_id, step, experiment, parent, status, deleted, user, models,
                  {**lineage.tags(), names.CHAIN: parent or run_id, **marks, **(tags or {})},
                  {**lineage.params, **lineage.placement})  # fmt: skip
        self._records[f"{self.artifacts}/{experiment}/{run_id}/artifacts/{names.LINEAGE_FILE}"] = lineage.to_json()
        return run_id

    def trial(self, search: str, number: int, *, experiment: str = "1", reused: str = "", deleted: bool = False,
              models: Iterable[str] = (), revoked: bool = False) -> str:  # fmt: skip
        """A trial of the search's run; its id. revoked: its result was only a check."""
        run_id = self._next("run")
        result = {"metrics": {"val_rmse": 3.5}, "number": number, "params": {"max_depth": 6}, "status": "ok"}
        tags = {names.TRIAL: str(number), names.TRIAL_RESULT: json.dumps(result), names.SEARCH_KEY: sha(search)}
        tags |= {names.REUSED: reused} if reused else {}
        tags |= {names.TRIAL_RESULT: None} if revoked else {}
        self._run(run_id, f"trial {number}", experiment, search, "FINISHED", deleted, "ada", models, tags,
                  {"max_depth": "6", "learning_rate": "0.1"})  # fmt: skip
        return run_id

    def _run(self, run_id: str, name: str, experiment: str, parent: str, status: str, deleted: bool, user: str,
             models: Iterable[str], tags: Mapping[str, str | None], params: Mapping[str, str]) -> None:  # fmt: skip
        start = BEGAN + self.count * 60_000
        self._add("runs", run_uuid=run_id, name=name, source_type="PROJECT", source_name="", entry_point_name="",
                  user_id=user, status=status, start_time=start, end_time=start + 30_000, source_version="",
                  lifecycle_stage="deleted" if deleted else "active",
                  artifact_uri=f"{self.address or self.artifacts}/{experiment}/{run_id}/artifacts",
                  experiment_id=int(experiment))  # fmt: skip
        marks = {names.PROJECT: self.project, names.RUN_NAME: name, names.USER: user, names.NOTE: "**result** " * 40}
        marks |= {names.PARENT: parent} if parent else {}
        for key, value in {**marks, **tags}.items():
            if value is not None:
                self._add("tags", key=key, value=value, run_uuid=run_id)
        for key, value in params.items():
            self._add("params", key=key, value=value, run_uuid=run_id)
        for key in ("val_rmse", "val_mae", "val_r2", "seconds"):
            self._add("latest_metrics", key=key, value=3.5, timestamp=start, step=0, is_nan=0, run_uuid=run_id)
        for model in models:
            self._add("inputs", input_uuid=self._next("input"), source_type="RUN_OUTPUT", source_id=run_id,
                      destination_type="MODEL_OUTPUT", destination_id=model, step=0)  # fmt: skip

    def model(self, experiment: str = "1") -> str:
        """A new id of a logged model. Give it to the runs that list it."""
        model = "m-" + self._next("model")
        self._add("logged_models", model_id=model, experiment_id=int(experiment), name="model",
                  artifact_location=f"{self.artifacts}/models/{model}", creation_timestamp_ms=BEGAN,
                  last_updated_timestamp_ms=BEGAN, status=2, lifecycle_stage="active")  # fmt: skip
        return model

    def registered(self, name: str) -> str:
        self._add("registered_models", name=name, creation_time=BEGAN, last_updated_time=BEGAN)
        return name

    def version(self, name: str, number: int, model: str, run_id: str, aliases: Iterable[str] = (),
                tags: Mapping[str, str] | None = None) -> str:  # fmt: skip
        """A version of a registered model; its URI."""
        self._add("model_versions", name=name, version=number, creation_time=BEGAN, last_updated_time=BEGAN,
                  current_stage="None", source=f"models:/{model}", run_id=run_id, status="READY")  # fmt: skip
        for key, value in {names.REGISTERED_BY: run_id, **(tags or {})}.items():
            self._add("model_version_tags", key=key, value=value, name=name, version=number)
        for alias in aliases:
            self._add("registered_model_aliases", alias=alias, version=number, name=name)
        return f"models:/{name}/{number}"

    def write(self) -> None:
        with sqlite3.connect(self.database) as database:
            for table, rows in self._rows.items():
                database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        for path, text in self._records.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
        self._rows.clear(), self._records.clear()
