"""Every parameter of every entry point given every absurd text: a right result or one clear error, a FAILED run."""

import importlib
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from provenance.pipeline import launch
from provenance.reproduce import replay
from tests.support.hypothesis_settings import examples
from tests.support.project import ROOT

DECLARED = {
    name: sorted(entry["parameters"])
    for name, entry in yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"].items()
}
TEXTS = (
    "", " ", "none", "auto", "-1", "0", "1e999", "nan", "inf", "true", "[]", "{}", '{"max_depth": 99}', '{"a": NaN}',
    "$(touch pwned)", "`touch pwned`", "a; touch pwned", "a && touch pwned", "| cat", "'", '"', "\\", "a b", "a\nb",
    "\t", "é", "出租车", "\u202e", "\U0001f695", "--help", "--reuse", "-P", "=", "%s", "{0}", "{__class__}", "../../x",
    "/etc/passwd", "/dev/null", "/dev/zero/x", "~root", "C:\\x", "//x/y", "file:///etc/passwd", "file://host/x",
    "ftp://example.org/x", "gopher://x", "data:,x", "javascript:alert(1)", "hdfs://x/y", "dbfs:/x", "runs:/", "runs:/x",
    "runs:/" + "0" * 32 + "/../..", "models:/", "models:/x/1", "models:/x@y", "mlflow-artifacts:/x", "s3:/x", "s3://",
    "0" * 32, "2023-13", "2023-01:2022-01", "1900-01:2099-12", "2023-01,2023-01", "sample:0",
    "sample:-5", "sample:" + "9" * 9,
    "dask://", "dask://x:y", "dask://127.0.0.1:1", "local:", "x" * 10_000, "é" * 5_000, "a/b", "a" * 300,
)  # fmt: skip
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ABSURD = st.one_of(st.sampled_from(TEXTS), st.text(LETTERS, max_size=40))


def command(name: str):
    return getattr(importlib.import_module(f"steps.{name}"), name)


@pytest.fixture
def still(client, tmp_path, monkeypatch):
    """Nothing is started, however far an absurd text comes; the folder that the user stands in."""

    def no_launch(*args, **kwargs):
        raise launch.ChainError("the parameters were taken: the step before would run now")

    monkeypatch.setattr(launch, "launch", no_launch)
    monkeypatch.setattr(replay, "launch", no_launch)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TLC_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("provenance.pipeline.invocation.launcher_folder", lambda: here)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trips")
    return here


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("count", [pytest.param(12, id="some"), pytest.param(250, id="many", marks=pytest.mark.slow)])
def test_an_absurd_parameter_ends_in_a_clear_error_or_is_taken(count, client, still):
    """No traceback, no model in the registry, no file where none belongs; the run is FAILED when the command is."""
    roots = [ROOT, ROOT.parent, still, Path.home(), Path("/")]
    before = [files(folder) for folder in roots]
    experiment = client.get_experiment_by_name("trips").experiment_id
    outcomes, registers = [], []

    @examples(count, shrink=False)
    @given(st.sampled_from([(name, parameter) for name in DECLARED for parameter in DECLARED[name]]), ABSURD)
    def check(where, text):
        name, parameter = where
        arguments = ["--" + parameter.replace("_", "-"), text]
        for other in ("source", "max_evals"):
            if other in DECLARED[name] and other != parameter:
                arguments += ["--" + other.replace("_", "-"), {"source": "sample:10", "max_evals": "1"}[other]]
        if name in ("gc", "verify"):  # these would work on what there is
            arguments += ["--nothing-such"]
        os.environ.pop("MLFLOW_RUN_ID", None)
        result = CliRunner().invoke(command(name), arguments)
        said = result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), (where, text, result.exception)
        assert "Traceback" not in said, said
        if result.exit_code:
            assert "Error: " in said, (where, text, said)
            assert len(said) < 4000 + 3 * len(text), (where, said[:500])
        outcomes.append(result.exit_code)
        registers.append(name == "register" and not result.exit_code)  # right, once a search was let through
        assert any(registers) or client.search_registered_models() == []

    check()
    runs = client.search_runs([experiment], max_results=5000)
    assert {run.info.status for run in runs} <= {"FAILED", "FINISHED"}
    after = [files(folder) for folder in roots]
    assert [new - old for new, old in zip(after, before, strict=True)] == [set()] * len(roots)
    assert sum(map(bool, outcomes)) > len(outcomes) // 2
