"""What nothing needs any more: runs, their artifacts, environments and temporary clones."""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tracking import names

DAY_MILLISECONDS = 24 * 3600 * 1000
_RUN_IN_URI = re.compile(r"^runs:/([0-9a-f]{32})(?:/|$)")


def age_days(run: Run) -> float:
    """Days since the run ended, or began when it never ended."""
    return (time.time() * 1000 - (run.info.end_time or run.info.start_time)) / DAY_MILLISECONDS


def describe(run: Run) -> str:
    tags = run.data.tags
    what = tags.get(names.STEP) or (f"trial {tags[names.TRIAL]}" if names.TRIAL in tags else "")
    reused = f", stands for {tags[names.REUSED]}" if names.REUSED in tags else ""
    return f"{what or tags.get(names.ENTRY_POINT, 'run')} {run.info.status}{reused}"


def project_runs(client: MlflowClient, experiment_ids: list[str]) -> list[Run]:
    """Every active run that this project made: by its step, its trial or the entry point it died before."""
    found, token = [], None
    while True:
        page = client.search_runs(
            experiment_ids, run_view_type=ViewType.ACTIVE_ONLY, max_results=1000, page_token=token
        )
        found += [run for run in page if run.data.tags.keys() & {names.STEP, names.TRIAL, names.ENTRY_POINT}]
        if not (token := page.token):
            return found


def unneeded(client: MlflowClient, experiment_ids: list[str], keep_days: float, never: Iterable[str] = ()) -> list[Run]:
    """The project's runs that nothing needs, oldest first.

    Needed are: runs that registered versions came from; runs younger than `keep_days` days (their outputs can be
    reused, their trials resumed) or still RUNNING; and, transitively, what a needed run was made from (inputs,
    the run it reused), the runs of its chain above it, and the trials that its search stands on.
    """
    runs = {run.info.run_id: run for run in project_runs(client, experiment_ids)}
    roots = {*never, *registered_runs(client)}
    roots |= {i for i, run in runs.items() if age_days(run) < keep_days or run.info.status in ("RUNNING", "SCHEDULED")}
    trials: dict[str, list[str]] = {}
    for run_id, run in runs.items():
        if names.TRIAL in run.data.tags:
            trials.setdefault(run.data.tags.get(names.PARENT, ""), []).append(run_id)
    needed, pending = set(), sorted(roots)
    while pending:
        run_id = pending.pop()
        if run_id in needed:
            continue
        needed.add(run_id)
        if run_id in runs:
            pending += ancestors(runs[run_id])
            pending += trials.get(run_id, ())
    return sorted((run for run_id, run in runs.items() if run_id not in needed), key=lambda run: run.info.start_time)


def ancestors(run: Run) -> list[str]:
    """The runs that `run` was made from, stands for, or belongs to."""
    tags = run.data.tags
    found = [tags[name] for name in (names.REUSED, names.PARENT) if name in tags]
    found += [value for name, value in tags.items() if name.startswith(names.PREFIX + "run.")]
    for name, value in tags.items():
        if name.startswith((names.INPUT, names.OUTPUT)) and (match := _RUN_IN_URI.match(value)):
            found.append(match[1])
    return found


def registered_runs(client: MlflowClient) -> set[str]:
    """Runs named by any version of any registered model: where its model came from and who registered it."""
    found: set[str] = set()
    token = None
    while True:
        page = client.search_model_versions(max_results=1000, page_token=token)
        for version in page:
            found |= {version.run_id or "", version.tags.get("run_id", ""), version.tags.get("search_run_id", "")}
            if match := re.match(r"models:/(m-[0-9a-f]+)", version.source or ""):
                with contextlib.suppress(MlflowException):  # a version whose files are gone needs no run
                    found.add(client.get_logged_model(match[1]).source_run_id or "")
        if not (token := page.token):
            return found - {""}


def delete(client: MlflowClient, run: Run) -> None:
    """Delete the run's artifacts and logged models, then the run (MLflow keeps deleted runs until `mlflow gc`)."""
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
    get_artifact_repository(run.info.artifact_uri).delete_artifacts()
    client.delete_run(run.info.run_id)


def environments(client: MlflowClient, experiment_ids: list[str]) -> list[Path]:
    """Environment folders that this project's runs ran in and that are still on this machine."""
    prefixes = {run.data.tags.get(names.ENVIRONMENT_FOLDER) for run in project_runs(client, experiment_ids)}
    built = {Path(prefix) for prefix in {*prefixes, sys.prefix} if prefix and "mlflow-" in Path(prefix).name}
    return sorted(folder for folder in built if folder.is_dir())


def clones(root: Path) -> list[Path]:
    """Temporary folders in which `mlflow run <git URL>` left a clone of this project, the one in use left out."""
    wanted = re.search(r"(?m)^name:\s*(\S+)", (root / "MLproject").read_text())[1]
    found = []
    for folder in Path(tempfile.gettempdir()).glob("tmp*"):
        project = folder / "MLproject"
        if folder.resolve() != root and (folder / ".git").exists() and project.is_file():
            match = re.search(r"(?m)^name:\s*(\S+)", project.read_text(errors="replace"))
            if match and match[1] == wanted:
                found.append(folder)
    return sorted(found)
