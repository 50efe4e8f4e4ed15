"""Where to look, for the terminal."""

from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from provenance.pipeline.invocation import Invocation
from provenance.record import names
from steps.pages import look as module
from steps.pages.look import look

ROOT = Path(__file__).resolve().parents[3]
INFO = SimpleNamespace(experiment_id="7", run_id="1" * 32)
SESSION = SimpleNamespace(open_run=SimpleNamespace(info=INFO), root=ROOT)
PAGES = "ui --backend-store-uri sqlite:////x/mlflow.db, then"
PATHS = [f"experiments/7/runs/{'1' * 32}?workflowType=machine_learning", "models/trips/versions/3"]


@pytest.mark.parametrize(
    ("folder", "program", "start"),
    [
        (ROOT, ".venv/bin/mlflow", "look: make ui, then"),
        (ROOT, "mlflow", f"look: mlflow {PAGES}"),
        (Path("/"), "/p/.venv/bin/mlflow", f"look: /p/.venv/bin/mlflow {PAGES}"),
    ],
)
def test_a_store_on_this_machine_needs_its_pages_started(monkeypatch, folder, program, start):
    """With make where the user has its launcher and stands in the project; else by the user's own MLflow."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "sqlite:////x/mlflow.db")
    monkeypatch.setattr(module, "launcher_folder", lambda: folder)
    monkeypatch.setattr(module, "invocation", lambda: Invocation(program))
    assert look(SESSION, "trips", "3") == [start, *(f"  http://127.0.0.1:5000/#/{path}" for path in PATHS)]


def test_a_servers_pages_are_there_already_and_no_password_is_shown(monkeypatch):
    """The links lead to the server itself."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "https://ada:secret@mlflow.example/")
    assert look(SESSION, "trips", "3") == ["look:", *(f"  https://mlflow.example/#/{path}" for path in PATHS)]


def test_of_a_repetition_there_is_nothing_to_look_at(monkeypatch):
    """Its version is deleted with the registry that it was given."""
    monkeypatch.setenv(names.THROWAWAY_REGISTRY, "true")
    assert look(SESSION, "trips", "3") == []
