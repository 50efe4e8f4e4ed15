"""Steps that run side by side: which may, and what becomes of the others when one fails or all are interrupted."""

import _thread
import signal
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.projects.backend.local import LocalBackend

from provenance.pipeline import graph as graphs
from provenance.pipeline import launch
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.reuse.heartbeat import process_name
from steps.pipeline import PIPELINE
from tests.support.project import ROOT

PROJECT = """
name: two
entry_points:
  quick: {command: "true"}
  bad: {command: "while [ ! -e slow.pid ]; do sleep 0.05; done; exit 3"}
  slow: {command: "echo $$ > slow.pid; exec sleep 100"}
  said: {command: "echo $PROGRESS_AS_LINES > said"}
  last: {command: "echo $PROGRESS_AS_LINES > last"}
"""


@pytest.fixture
def session(client, tmp_path) -> Session:
    (tmp_path / "MLproject").write_text(PROJECT)
    parent = client.create_run("0", tags={names.PROJECT: "ours"})
    return Session(replace(PIPELINE, root=tmp_path), client, client.get_run(parent.info.run_id), quiet=True)


def statuses(session: Session) -> dict[str, str]:
    runs = session.client.search_runs(["0"], f"attributes.run_id != '{session.run_id}'")
    return {run.data.tags[names.ENTRY_POINT]: run.info.status for run in runs}


def slow_process(session: Session) -> int:
    deadline = time.monotonic() + 60
    while not (text := _read(session.root / "slow.pid")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(text)


def _read(path) -> str:
    return path.read_text().strip() if path.exists() else ""


def test_one_that_fails_ends_the_others_at_once(session):
    """Else a search of hours would go on for a chain that has failed."""
    with pytest.raises(launch.ChainError, match=r"^step bad failed: "):
        launch.launch_all(session, {"slow": {}, "bad": {}})
    assert process_name(slow_process(session)) is None
    assert statuses(session) == {"slow": "FAILED", "bad": "FAILED"}


def test_an_interruption_ends_all(session):
    """No step outlives its chain, and none is left RUNNING."""

    def interrupt() -> None:
        slow_process(session)
        _thread.interrupt_main()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            launch.launch_all(session, {"slow": {}, "last": {}})
    finally:
        signal.signal(signal.SIGINT, before)
    assert process_name(slow_process(session)) is None
    assert statuses(session)["slow"] == "KILLED"


def test_a_step_that_cannot_start_ends_the_others(session, monkeypatch):
    """Such as one whose environment cannot be built, after the other has begun."""
    run = LocalBackend.run

    def refuse(self, uri, step, *given):
        if step == "last":
            raise MlflowException("the environment cannot be built")
        return run(self, uri, step, *given)

    monkeypatch.setattr(LocalBackend, "run", refuse)
    with pytest.raises(launch.ChainError, match=r"^step last failed: the environment cannot be built"):
        launch.launch_all(session, {"slow": {}, "last": {}})
    assert statuses(session) == {"slow": "FAILED", "last": "FAILED"}


def test_the_last_one_alone_draws_on_the_terminal(session):
    """Two bars on one line would overwrite each other."""
    runs = launch.launch_all(session, {"said": {}, "last": {}})
    assert [*runs] == ["said", "last"]
    assert (_read(session.root / "said"), _read(session.root / "last")) == ("true", "")
    assert {run.data.tags["mlflow.project.backend"] for run in runs.values()} == {"local"}


def test_what_needs_another_is_of_a_later_group():
    """Also if it needs it through a third."""
    assert PIPELINE.independent(PIPELINE.names) == [["preprocess"], ["train", "hpo"], ["register"]]
    assert PIPELINE.independent(["preprocess", "register"]) == [["preprocess"], ["register"]]


@pytest.mark.parametrize(
    ("size", "together"),
    [(1000, [["preprocess"], ["train", "hpo"], ["register"]]), (10**9, [[name] for name in PIPELINE.names])],
)
def test_steps_that_read_much_run_one_after_the_other(client, monkeypatch, size, together):
    """Each may need all of the memory: the search sizes itself by what is free when it begins."""
    ran = []

    def launch_all(session, steps) -> dict:
        ran.append([*steps])
        return {step: SimpleNamespace(info=SimpleNamespace(run_id=step)) for step in steps}

    def hit(session, run_id: str) -> SimpleNamespace:
        output = SimpleNamespace(uri="runs:/x/y", digest="a" * 64, files={"part": (size, "b" * 64)})
        return SimpleNamespace(run_id=run_id, outputs={names.DATASET: output, names.SEARCH: output})

    monkeypatch.setattr(launch, "launch_all", launch_all)
    monkeypatch.setattr(Session, "hit", hit)
    parent = client.create_run("0")
    params = {name: "1" for step in PIPELINE.steps for name in (*step.params, *step.placement)}
    params |= {"source": "sample:100", "taxi": "green", "model_name": "trips"}
    params |= {"train_months": "2023-01", "val_months": "2023-02", "test_months": "none"}
    session = Session(replace(PIPELINE, root=ROOT), client, parent, quiet=True)
    made = graphs.Graph(session, params).make(PIPELINE.names, "main", reuse=False)
    assert ran == together
    assert [*made] == [*PIPELINE.names]
