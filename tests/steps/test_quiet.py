"""quiet=true: results on stdout and nothing on stderr, of every step; without it progress, on stderr alone."""

import importlib
import os
import re

from click.testing import CliRunner, Result

from runtime import progress
from tests.support.in_process import from_committed_copy

# What MLflow and the libraries say in their own name.
THEIRS = re.compile(r"  |.*Warning|.* INFO mlflow|Successfully registered model|Created version")


def run(step: str, **params: str) -> Result:
    os.environ.pop("MLFLOW_RUN_ID", None)
    words = [word for name, value in params.items() for word in ("--" + name.replace("_", "-"), value)]
    result = CliRunner().invoke(getattr(importlib.import_module(f"steps.{step}"), step), words)
    assert result.exit_code == 0, result.output
    return result


def test_quiet_steps_say_nothing_on_stderr(client, tmp_path, monkeypatch):
    """The whole chain, each step handed the one before; what a script needs is the last words of stdout."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trips")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setattr(progress, "SILENT_SECONDS", -1)  # as if everything took long
    from_committed_copy(tmp_path / "project", monkeypatch)  # an edited one names what it uploads
    made = run("preprocess", source="sample:300", quiet="true")
    dataset = made.stdout.splitlines()[-2].removeprefix("dataset ")
    model = {"dataset": dataset, "model": "linear"}
    fitted = run("train", **model, quiet="true")
    aloud = run("train", **model, quiet="false", reuse="false").stderr
    assert "fitting linear" in aloud and "score: 100 % of" in aloud
    searched = run("hpo", **model, max_evals="2", top_n="1", workers="1", quiet="true")
    search = searched.stdout.splitlines()[-2].removeprefix("search ")
    registered = run("register", search=search, quiet="true")
    planned = run("gc", quiet="true")
    assert "list: 100 % of" in run("gc", keep_days="0", quiet="false").stderr
    for result in (made, fitted, searched, registered, planned):
        assert [line for line in result.stderr.splitlines() if not THEIRS.match(line)] == []
    for result in (made, fitted, searched, registered):
        assert result.stdout.splitlines()[-1].startswith("run ")
