"""Steps in the test's own process, on the real store: what `mlflow run` does around a step, without the processes."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Param, Run

from provenance.pipeline import launch
from provenance.pipeline.session import Session
from provenance.record import names
from tests.support import repository
from tests.support.project import Workplace, copied


def command(entry_point: str) -> click.Command:
    return getattr(import_module(f"steps.{entry_point}"), entry_point)


def made_for(
    client: MlflowClient, experiment_id: str, step: str, given: dict[str, str] | None = None, **tags: str
) -> Run:
    """The run that `mlflow run -e step` makes before it starts the step, its parameters logged."""
    marks = {names.ENTRY_POINT: step, names.USER: getpass.getuser()}
    run = client.create_run(experiment_id, tags={**marks, **tags})
    params = {option.name: "" for option in command(step).params} | (given or {})
    client.log_batch(run.info.run_id, params=[Param(name, text) for name, text in params.items()])
    return run


def in_process(session: Session, step: str, parameters: dict[str, str]) -> Run:
    """`launch.launch`: a child run, and the step's own command on it."""
    client, parent = session.client, session.run
    run = made_for(client, parent.info.experiment_id, step, **{names.PARENT: parent.info.run_id})
    os.environ["MLFLOW_RUN_ID"] = run.info.run_id
    try:
        command(step).main(words(parameters), standalone_mode=False)
    finally:
        os.environ.pop("MLFLOW_RUN_ID", None)
    return client.get_run(run.info.run_id)


def all_in_process(session: Session, steps: dict[str, dict[str, str]]) -> dict[str, Run]:
    """`launch.launch_all`, but one step after the other."""
    return {step: in_process(session, step, parameters) for step, parameters in steps.items()}


def from_committed_copy(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Have steps of this process believe to run in a committed copy of this project, made in `folder`."""
    repository.commit(copied(folder))
    patch.setattr(Session, "root", folder)
    return folder


@contextlib.contextmanager
def working_in(place: Workplace) -> Iterator[pytest.MonkeyPatch]:
    """While it is open, steps of this process work in the folder and the store of `place`, in experiment 0."""
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", place.store)
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        patch.chdir(place.folder)
        patch.setattr(launch, "launch", in_process)
        patch.setattr(launch, "launch_all", all_in_process)
        mlflow.set_tracking_uri(place.store)
        yield patch
    mlflow.set_tracking_uri(before)


def words(parameters: dict[str, str]) -> list[str]:
    """The parameters as a command line."""
    return [word for name, value in parameters.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def chain(client: MlflowClient, params: dict[str, str], **of_session: object) -> None:
    """The steps of `main`, one after the other, under a run of their own: only `launch.launch` may be `in_process`."""
    from provenance.pipeline.graph import Graph
    from steps.main import main
    from steps.pipeline import PIPELINE
    from steps.train import params_text

    parsed = {**main.make_context("main", words(params)).params, "quiet": True, **of_session}
    parsed |= {"params": params_text(parsed["params"])}
    parent = client.create_run("0")
    graph = Graph(Session(PIPELINE, client, parent, quiet=True, **of_session), parsed)
    for step in PIPELINE.names:
        graph.made_by(step)
    client.set_terminated(parent.info.run_id)
