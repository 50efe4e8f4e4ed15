"""What nothing needs any more: runs, their artifacts, environments and temporary clones."""

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

from provenance.record import names
from provenance.record.validation import one_line
from provenance.store.paging import every
from provenance.store.project_identity import is_ours, project_name

DAY_MILLISECONDS = 24 * 3600 * 1000
OPEN = ("RUNNING", "SCHEDULED")
_RUN_IN_URI = re.compile(r"runs:/([0-9a-f]{32})(?:/|$)")
_MODEL_IN_URI = re.compile(r"models:/(m-[0-9a-f]{32})(?:/|$)")
_VERSION_IN_URI = re.compile(r"models:/([^/@]+)/([0-9]+)/?")
_ID = re.compile("(m-)?[0-9a-f]{32}")  # of a run or a logged model
_ENVIRONMENT = re.compile("mlflow-[0-9a-f]{40}")  # how MLflow calls the environments that it builds


class GarbageError(ValueError):
    """Something that is not deleted although nothing needs it."""


class RegistryUnknown(ValueError):
    """Nobody can say which runs registered versions need."""


@dataclass(frozen=True)
class Garbage:
    """What gc found.

    ours: the project's runs; runs: those of them that nothing needs, oldest first. unknown: why runs that could be
    registered were all kept. unmarked: how many runs have a record like ours, but do not say of which project.
    """

    ours: list[Run]
    runs: list[Run]
    unknown: str | None
    unmarked: int


def age_days(run: Run) -> float:
    """Days since the run ended, or began when it never ended; 0 when it says neither."""
    then = run.info.end_time or run.info.start_time
    return (time.time() * 1000 - then) / DAY_MILLISECONDS if then else 0.0


def describe(run: Run, experiment: str) -> str:
    tags = run.data.tags
    what = tags.get(names.STEP) or (f"trial {tags[names.TRIAL]}" if names.TRIAL in tags else "")
    reused = f", stands for {tags[names.REUSED]}" if names.REUSED in tags else ""
    what = what or tags.get(names.RUN_NAME) or "run"
    user = tags.get(names.USER) or run.info.user_id or "unknown"
    return one_line(f"{what:.100} {run.info.status}{reused:.60}, experiment {experiment:.100}, user {user:.100}")


def related(client: MlflowClient, experiment_ids: list[str], project: str) -> dict[str, Run]:
    """Every active run, id -> run, that carries our mark or a record as this project writes it, whosoever it is."""
    found = {}
    marks = [f"tags.`{names.PROJECT}` = '{project}'", f"tags.`{names.STEP}` != ''", f"tags.`{names.TRIAL}` != ''"]
    for query in marks:
        for run in every(client.search_runs, experiment_ids, query, ViewType.ACTIVE_ONLY):
            found[run.info.run_id] = run
    return found


def find(
    client: MlflowClient, experiment_ids: list[str], project: str, keep_days: float, never: Iterable[str] = ()
) -> Garbage:
    """The project's runs that nothing needs.

    Needed are: runs that registered versions came from; runs, also of others, younger than `keep_days` days (their
    outputs can be reused, their trials resumed) or still RUNNING, with all that a RUNNING one has started; and,
    transitively, what a needed run was made from (inputs, the run it reused), the runs of its chain above it, and the
    trials that its search stands on. When the registry cannot be known, so is every run that could be registered.
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
    """The runs and all below them."""
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
    """The runs that `run` was made from, stands for, or belongs to; `makers` are the runs behind each logged model."""
    tags = run.data.tags
    found = [tags[name] for name in (names.REUSED, names.PARENT) if name in tags]
    found += [value for name, value in tags.items() if name.startswith(names.PREFIX + "run.")]
    for name, value in tags.items():
        if name.startswith((names.INPUT, names.OUTPUT)):
            found += [match[1]] if (match := _RUN_IN_URI.match(value)) else []
            found += makers.get(match[1], ()) if (match := _MODEL_IN_URI.match(value)) else ()
    return found


def _models(run: Run) -> set[str]:
    """The logged models that the run itself says to have made."""
    return {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()


def registered_runs(client: MlflowClient, ours: Iterable[Run]) -> set[str]:
    """Runs named by any version of any registered model: where its model came from and who registered it.

    Raises RegistryUnknown where an answer, or none, may not be the whole truth: another registry than the store's
    own, one that does not answer, or one that lacks what `ours`, the project's runs, say to have registered.
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
    found = {version.run_id or "", version.tags.get("run_id", ""), version.tags.get("search_run_id", "")}
    if match := _MODEL_IN_URI.match(version.source or ""):
        found.add(_source_run(client, match[1]))
    return found


def _claims(run: Run) -> Iterator[tuple[str, str]]:
    """Versions, (name, number), that `run` says to have registered."""
    for name, value in run.data.tags.items():
        if name.startswith(names.OUTPUT) and (match := _VERSION_IN_URI.fullmatch(value)):
            yield match[1], match[2]


def _is_gone(client: MlflowClient, name: str, number: str) -> bool:
    """Whether a version does not exist, as opposed to: may not be seen."""
    try:
        client.get_model_version(name, number)
    except MlflowException as error:
        gone: bool = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        return gone
    return False


def _source_run(client: MlflowClient, model_id: str) -> str:
    """The run that logged a model; "" when there is no such model (any more)."""
    try:
        return client.get_logged_model(model_id).source_run_id or ""
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return ""
        raise


def delete(client: MlflowClient, run: Run, project: str) -> None:
    """Delete the run (MLflow keeps deleted runs until `mlflow gc`), its logged models and its artifacts.

    Raises GarbageError, before anything is deleted, when artifacts do not lie where the store puts those of this run.
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
    client.delete_run(run.info.run_id)  # refused before anything is gone, where this user may not
    try:
        for model, place in places:
            get_artifact_repository(place).delete_artifacts()
            client.delete_logged_model(model.model_id)
        get_artifact_repository(own).delete_artifacts()
    except BaseException:  # what is left is found again
        with contextlib.suppress(MlflowException):
            client.restore_run(run.info.run_id)
        raise


def own_place(uri: str, owner: str) -> str:
    """`uri`, when it is of the artifacts of the run or model `owner` alone: ``.../<owner>/artifacts``.

    A store may say any place, and what is deleted there is gone. Raises GarbageError.
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
    """Environment folders that MLflow built on this machine and that `runs`, or this process, ran in."""
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
    """Temporary folders in which `mlflow run <git URL>` left this user a clone of a project of this name.

    The one in use is left out.
    """
    wanted = project_name(root)
    return sorted(
        folder
        for folder in Path(tempfile.gettempdir()).glob("tmp*")
        if _is_there(folder / ".git", folder) and folder.resolve() != root and project_name(folder) == wanted
    )


def _is_there(*folders: Path) -> bool:
    """Whether all are folders of this user, as far as he may look."""
    try:
        return all(folder.is_dir() and folder.stat().st_uid == os.getuid() for folder in folders)
    except (OSError, ValueError):
        return False
