"""Find and delete what is no longer needed: runs, their artifacts, environments and temporary clones."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from provenance.record import names, run_tags
from provenance.record.validation import one_line
from provenance.store.paging import every
from provenance.store.project_identity import is_ours, project_name

DAY_MILLISECONDS = 24 * 3600 * 1000
OPEN = ("RUNNING", "SCHEDULED")
_RUN_IN_URI = re.compile(r"runs:/([0-9a-f]{32})(?:/|$)")
_MODEL_IN_URI = re.compile(r"models:/(m-[0-9a-f]{32})(?:/|$)")
_VERSION_IN_URI = re.compile(r"models:/([^/@]+)/([0-9]+)/?")
_ID = re.compile("(m-)?[0-9a-f]{32}")  # of a run or a logged model
_ENVIRONMENT = re.compile("mlflow-[0-9a-f]{40}")  # the name of an environment that MLflow built


class GarbageError(ValueError):
    """A run is not needed, but must not be deleted."""


class RegistryUnknown(ValueError):
    """The registry cannot tell which runs its model versions need."""


@dataclass(frozen=True)
class Garbage:
    """The result of a search for garbage.

    ours: the runs of this project.
    runs: those of them that are not needed, oldest first.
    unknown: why all runs that could be registered were kept; None if the registry was readable.
    unmarked: the number of runs that have a record but no tag with their project.
    """

    ours: list[Run]
    runs: list[Run]
    unknown: str | None
    unmarked: int


def age_days(run: Run) -> float:
    """Days since the run ended, or since it started if it has no end; 0 if it has neither time."""
    then = run.info.end_time or run.info.start_time
    return (time.time() * 1000 - then) / DAY_MILLISECONDS if then else 0.0


def describe(run: Run, experiment: str) -> str:
    """One line about a run: its step or trial, status, experiment and user."""
    tags = run.data.tags
    what = tags.get(names.STEP) or (f"trial {tags[names.TRIAL]}" if names.TRIAL in tags else "")
    reused = f", stands for {tags[names.REUSED]}" if names.REUSED in tags else ""
    what = what or tags.get(names.RUN_NAME) or "run"
    user = tags.get(names.USER) or run.info.user_id or "unknown"
    return one_line(f"{what:.100} {run.info.status}{reused:.60}, experiment {experiment:.100}, user {user:.100}")


def related(client: MlflowClient, experiment_ids: list[str], project: str) -> dict[str, Run]:
    """Id -> run, of all active runs that carry this project's tag or that have a record or a trial of any project."""
    found = {}
    marks = [f"tags.`{names.PROJECT}` = '{project}'", f"tags.`{names.STEP}` != ''", f"tags.`{names.TRIAL}` != ''"]
    for query in marks:
        for run in every(client.search_runs, experiment_ids, query, ViewType.ACTIVE_ONLY):
            found[run.info.run_id] = run
    return found


def find(
    client: MlflowClient, experiment_ids: list[str], project: str, keep_days: float, never: Iterable[str] = ()
) -> Garbage:
    """Find the project's runs that are not needed.

    These runs are needed:

    - runs from which registered model versions came; if the registry cannot be read, all runs that could be registered;
    - runs younger than `keep_days` days, also of other projects: their outputs can be reused and their trials resumed;
    - RUNNING runs, and all runs that they started;
    - the runs `never`;
    - for each needed run: the runs that made its inputs, the run that it reused, the runs of its chain above it, and
      the trials of its search.
    """
    runs = related(client, experiment_ids, project)
    below: dict[str, list[str]] = {}
    makers: dict[str, list[str]] = {}
    for run_id, run in runs.items():
        for model_id in _models(run):
            makers.setdefault(model_id, []).append(run_id)
        below.setdefault(run.data.tags.get(names.PARENT, ""), []).append(run_id)
    roots = set(never) | {i for i, run in runs.items() if age_days(run) < keep_days}
    roots |= _started_by({i for i, run in runs.items() if run.info.status in OPEN}, below)
    ours = [run for run in runs.values() if is_ours(run, project)]
    unknown = None
    try:
        roots |= registered_runs(client, ours)
    except RegistryUnknown as error:
        unknown = str(error)
        roots |= {i for i, run in runs.items() if _could_be_registered(run)}
    needed, pending = set(), sorted(roots)
    while pending:
        run_id = pending.pop()
        if run_id in needed:
            continue
        needed.add(run_id)
        if run_id in runs:
            pending += ancestors(runs[run_id], makers)
            pending += (child for child in below.get(run_id, ()) if names.TRIAL in runs[child].data.tags)
    garbage = [run for run in ours if run.info.run_id not in needed]
    return Garbage(
        ours=ours,
        runs=sorted(garbage, key=lambda run: run.info.start_time or 0),
        unknown=unknown,
        unmarked=sum(names.PROJECT not in run.data.tags for run in runs.values()),
    )


def _started_by(run_ids: set[str], below: dict[str, list[str]]) -> set[str]:
    """The runs `run_ids` and all runs below them."""
    found, pending = set(), list(run_ids)
    while pending:
        run_id = pending.pop()
        if run_id not in found:
            found.add(run_id)
            pending += below.get(run_id, ())
    return found


def _could_be_registered(run: Run) -> bool:
    return bool(_models(run)) or bool(run.data.tags.keys() & {names.OUTPUTS, names.REUSED, names.TRIAL_RESULT})


def ancestors(run: Run, makers: Mapping[str, Iterable[str]]) -> list[str]:
    """The runs that `run` needs: those that made its inputs, the run that it reused, its steps and its parent.

    makers: id of a logged model -> the runs that logged it.
    """
    tags = run.data.tags
    found = [tags[name] for name in (names.REUSED, names.PARENT) if name in tags]
    found += run_tags.steps(tags).values()
    for item in (*run_tags.inputs(tags).values(), *run_tags.outputs(tags).values()):
        found += [match[1]] if (match := _RUN_IN_URI.match(item.uri)) else []
        found += makers.get(match[1], ()) if (match := _MODEL_IN_URI.match(item.uri)) else ()
    return found


def _models(run: Run) -> set[str]:
    """The ids of the logged models that the run lists as its outputs."""
    return {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()


def registered_runs(client: MlflowClient, ours: Iterable[Run]) -> set[str]:
    """The runs that model versions name: for each version the run that made its model and the run that registered it.

    ours: the runs of this project.

    Raises RegistryUnknown if the answer may be incomplete: the models are registered in another store, the registry
    does not answer, or it is empty although a run of `ours` registered a version.
    """
    own, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    if own != registry:
        raise RegistryUnknown("models are registered in another store (MLFLOW_REGISTRY_URI) than this one")
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    try:
        for version in every(client.search_model_versions):
            found |= _runs_of(client, version)
            seen.add((version.name, str(version.version)))
        claimed = {version: run.info.run_id for run in ours for version in _claims(run)}
        if claimed and not seen:
            raise RegistryUnknown(f"the registry is empty, but run {min(claimed.values())} registered a version")
        for (name, number), run_id in claimed.items():
            if (name, number) not in seen and not _is_gone(client, name, number):
                found.add(run_id)
    except MlflowException as error:
        raise RegistryUnknown(f"the registry does not answer ({one_line(error.message):.200})") from error
    return found - {""}


def _runs_of(client: MlflowClient, version: ModelVersion) -> set[str]:
    found = {version.run_id or "", version.tags.get(names.REGISTERED_BY, ""), version.tags.get(names.SEARCH_RUN, "")}
    if match := _MODEL_IN_URI.match(version.source or ""):
        found.add(_source_run(client, match[1]))
    return found


def _claims(run: Run) -> Iterator[tuple[str, str]]:
    """(name, number) of the model versions that `run` registered, according to its tags."""
    for item in run_tags.outputs(run.data.tags).values():
        if match := _VERSION_IN_URI.fullmatch(item.uri):
            yield match[1], match[2]


def _is_gone(client: MlflowClient, name: str, number: str) -> bool:
    """Whether a version does not exist. A version that this user may not read does exist."""
    try:
        client.get_model_version(name, number)
    except MlflowException as error:
        gone: bool = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        return gone
    return False


def _source_run(client: MlflowClient, model_id: str) -> str:
    """The id of the run that logged a model; "" if the model does not exist."""
    try:
        return client.get_logged_model(model_id).source_run_id or ""
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return ""
        raise


def delete(client: MlflowClient, run: Run, project: str) -> None:
    """Delete a run, its logged models and its artifacts. MLflow keeps deleted runs in its database until `mlflow gc`.

    Raises GarbageError, before anything is deleted, if the run is in use, belongs to another project, or has artifacts
    outside its own folder.
    """
    run = client.get_run(run.info.run_id)  # it may have changed since it was listed
    if run.info.lifecycle_stage != "active":
        return
    if not is_ours(run, project) or run.info.status in OPEN:
        raise GarbageError("it is in use by now")
    made = _models(run)
    models = every(client.search_logged_models, [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    places = [(model, own_place(model.artifact_location, model.model_id)) for model in models if model.model_id in made]
    own = own_place(run.info.artifact_uri, run.info.run_id)
    client.delete_run(run.info.run_id)  # first, because the server may refuse it to this user
    try:
        for model, place in places:
            get_artifact_repository(place).delete_artifacts()
            client.delete_logged_model(model.model_id)
        get_artifact_repository(own).delete_artifacts()
    except BaseException:  # restore the run, so that the next gc finds what is left of it
        with contextlib.suppress(MlflowException):
            client.restore_run(run.info.run_id)
        raise


def own_place(uri: str, owner: str) -> str:
    """Return `uri` if it is the artifact folder of the run or model `owner`: ``.../<owner>/artifacts``.

    A store can name any folder, and deleted artifacts cannot be restored. Raises GarbageError for another folder.
    """
    refusal = f"its artifacts lie at {one_line(uri):.200}, which is not a place of its own"
    scheme, _, rest = uri.partition(":") if re.match(r"[a-z][a-z0-9+.-]+:/", uri) else ("", "", uri)
    path = unquote(rest) if scheme in ("", "file") else rest
    parts = path.split("/")
    own = _ID.fullmatch(owner) and parts[-2:] == [owner, "artifacts"]
    climbs = {".", ".."} & {*parts, *unquote(path).split("/")}
    if not own or climbs or scheme in ("runs", "models") or (scheme and re.search(r"[?#;\\]", path)):
        raise GarbageError(refusal)
    if scheme in ("", "file"):
        real = os.path.realpath(local_file_uri_to_path(uri))
        if real.split(os.sep)[-2:] != [owner, "artifacts"]:
            raise GarbageError(f"{refusal}: it leads to {one_line(real):.200}")
    return uri


def environments(runs: Iterable[Run]) -> list[Path]:
    """The environment folders that MLflow built on this machine, in which `runs` or this process ran."""
    from mlflow.utils.virtualenv import _get_mlflow_virtualenv_root

    root = Path(_get_mlflow_virtualenv_root())
    found = set()
    for prefix in {sys.prefix, *(run.data.tags.get(names.ENVIRONMENT_FOLDER, "") for run in runs)}:
        folder = Path(prefix)
        of_conda = folder.parent.name == "envs" and _is_there(folder / "conda-meta", folder)
        if _ENVIRONMENT.fullmatch(folder.name) and (folder.parent == root or of_conda) and _is_there(folder):
            found.add(folder)
    return sorted(found)


def clones(root: Path) -> list[Path]:
    """Temporary folders of this user in which `mlflow run <git URL>` left a clone of a project with this name.

    The clone that this process runs in is not among them.
    """
    wanted = project_name(root)
    return sorted(
        folder
        for folder in Path(tempfile.gettempdir()).glob("tmp*")
        if _is_there(folder / ".git", folder) and folder.resolve() != root and project_name(folder) == wanted
    )


def _is_there(*folders: Path) -> bool:
    """Whether all of them are folders that belong to this user. False if one of them cannot be read."""
    try:
        return all(folder.is_dir() and folder.stat().st_uid == os.getuid() for folder in folders)
    except (OSError, ValueError):
        return False
