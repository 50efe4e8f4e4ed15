"""Run a recorded step again with `mlflow run`: with its parameters, without reuse, and with a temporary registry."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from provenance.pipeline.launch import started
from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError
from provenance.record.lineage import Lineage, LineageError
from provenance.reproduce.model_loading import settings
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import Made
from provenance.reuse import cache
from provenance.reuse.trust import EXPERIMENT, SIGNED
from provenance.signing.signing_key import withheld
from provenance.store.paging import every

MANAGERS = ("uv", "conda", "virtualenv", "local")
CUT = 6000  # characters that MLflow keeps of a parameter
_REGISTRY = "MLFLOW_REGISTRY_URI"


class ReplayError(ValueError):
    """A step cannot be started again from its record."""


@dataclass(frozen=True)
class Replayed:
    """A repeated step.

    made: its result; None if it failed.
    error: why it failed.
    tried: the record with which a failed step started, if it came so far.
    """

    run_id: str | None
    made: Made | None
    error: str | None = None
    tried: Lineage | None = None


def parameters(project: Path, original: RecordedRun, changes: Mapping[str, str]) -> dict[str, str]:
    """The parameters for `mlflow run -e STEP`: the recorded ones with `changes`, and with reuse=false.

    Only parameters that the recorded MLproject declares are taken: a step also logs others, and a server can add some.
    Raises ReplayError if MLproject has no such step or a parameter cannot be read.
    """
    step = original.lineage.step
    try:
        declared = yaml.safe_load((project / "MLproject").read_text())["entry_points"][step]["parameters"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ReplayError(f"the recorded commit's MLproject has no entry point {step} ({error!r})") from error
    given = {name: unquoted(name, text) for name, text in original.logged.items() if name in declared}
    # If a parameter names a JSON file, the record has the file's content: the file may have changed since then.
    for name, text in original.lineage.params.items():
        if text.startswith("{") and not given.get(name, "{").lstrip().startswith("{"):
            given[name] = text
    # The recorded engine may be on another machine. The engine never changes the result.
    changes = {"engine": "local", "reuse": "false", **changes}
    if given.get("trust") == SIGNED:  # repeated steps are not signed
        changes = {"trust": EXPERIMENT, **changes}
    return given | {name: text for name, text in changes.items() if name in declared}


def unquoted(name: str, logged: str) -> str:
    """A parameter's value. MLflow logged it quoted for a shell. Raises ReplayError if it was cut or altered."""
    if len(logged) >= CUT:
        raise ReplayError(f"parameter {name} is longer than the {CUT:,} characters that MLflow keeps\n"
                          " Such a run cannot be repeated from its record.")  # fmt: skip
    try:
        words = shlex.split(logged)
    except ValueError:
        words = []
    if len(words) != 1 or "\0" in logged:
        raise ReplayError(f"parameter {name} is logged as {logged!r:.80}, which `mlflow run` never writes\n"
                          " The record was altered: do not use the run.")  # fmt: skip
    return words[0]


def manager(original: RecordedRun, asked: str) -> str:
    """The environment manager to use; `asked` = "auto" stands for the recorded one. Raises ReplayError."""
    wanted = original.lineage.environment.get("manager") if asked == "auto" else asked
    if wanted not in MANAGERS:
        raise ReplayError(f"the recorded environment manager {wanted!r:.40} is none of {', '.join(MANAGERS)}\n"
                          " Pass -P env_manager=.")  # fmt: skip
    return str(wanted)


@contextlib.contextmanager
def scratch_registry(folder: Path) -> Iterator[None]:
    """While it is open, steps that this process starts use an empty registry in `folder`."""
    wanted = {_REGISTRY: f"sqlite:///{folder}/registry.db", names.THROWAWAY_REGISTRY: "true"}
    # The first query creates the tables, which takes seconds.
    next(every(MlflowClient(registry_uri=wanted[_REGISTRY]).search_registered_models), None)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


def launch(session: Session, project: Path, step: str, given: Mapping[str, str], env_manager: str) -> Replayed:
    """Run `step` of the project in the folder `project` as a child of the session's run, and wait for it."""
    with withheld():
        run_id, error = started(session, project, step, given, env_manager)
    if run_id and not error:
        try:
            hit = session.hit(run_id, own=True)
            return Replayed(run_id, Made(run_id, hit.lineage, hit.metrics, settings(hit.lineage.outputs)))
        except (RunError, LineageError, ArtifactError) as raised:
            error = str(raised)
    return Replayed(run_id, None, error, tried(run_id) if run_id else None)


def tried(run_id: str) -> Lineage | None:
    """The record with which a run started; None if it failed before it knew its inputs."""
    try:
        lineage = cache.read(run_id)
    except (ArtifactError, LineageError, MlflowException):
        return None
    return lineage if lineage.inputs else None
