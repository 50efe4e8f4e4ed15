"""What is changed of MLflow's own functions: it is there, as it is known here, or the user is told what is lost."""

import functools
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from provenance.bootstrap.first_use_lock import CHANGES, environments, uv_without_conda
from tests.support.project import ROOT, environment

# As the pinned MLflow has them. With another one that differs here: read what became of the function, and of whoever
# calls it, then renew `CHANGES` and this.
SIGNATURES = {
    "mlflow.utils.virtualenv._create_virtualenv": "local_model_path python_env env_dir python_install_dir env_manager "
    "extra_env capture_output pip_requirements_override",
    "mlflow.utils.conda.get_or_create_conda_env": "conda_env_path env_id capture_output env_root_dir "
    "pip_requirements_override extra_envs",
    "mlflow.projects.backend.local._env_type_to_env_manager": "env_typ",
    "mlflow.projects.backend.local.LocalBackend.run": "self project_uri entry_point params version backend_config "
    "tracking_uri experiment_id",
    "mlflow.projects.backend.local.get_or_create_run": "run_id uri experiment_id work_dir version entry_point "
    "parameters",
    "mlflow.projects.backend.local.tracking.MlflowClient.set_terminated": "self run_id status end_time",
    "mlflow.store.db.utils._all_tables_exist": "engine",
    "mlflow.store.db.utils._initialize_tables": "engine",
    "mlflow.store.db.utils._verify_schema": "engine",
    "mlflow.store.db.utils._get_schema_version": "engine",
    "mlflow.store.db.utils.sqlalchemy.inspect": "subject raiseerr",
}
USED = [(module, name) for module, change in CHANGES.items() for name in change.uses]


@pytest.mark.parametrize(("module", "name"), USED)
def test_mlflow_has_what_is_changed_of_it_as_it_is_known(module, name):
    """An upgrade that renames a function, or gives it other parameters, is seen here."""
    assert CHANGES[module].missing(importlib.import_module(module)) == []
    found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    assert " ".join(inspect.signature(inspect.unwrap(found)).parameters) == SIGNATURES[f"{module}.{name}"]


# Each function in turn gone, and taking nothing: what is said, and whether the module was left as it was found.
ANOTHER_MLFLOW = """
import importlib, sys
from provenance.bootstrap import first_use_lock
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "_WhenImported"]
module = importlib.import_module(NAME)
whole = vars(module).copy()
for used, parameters in first_use_lock.CHANGES[NAME].uses.items():
    for other in [None, *([lambda: None] if parameters else [])] if "." not in used else []:
        vars(module).update(whole)
        vars(module).pop(used) if other is None else setattr(module, used, other)
        found = vars(module).copy()
        first_use_lock.change(NAME, module)
        print(used, vars(module) == found)
"""


@pytest.mark.parametrize("module", CHANGES)
def test_what_is_lost_with_another_mlflow_is_said(module):
    """Where a function is gone and where it takes something else; MLflow itself works on, unchanged."""
    program = f"import sys; sys.path[:] = {sys.path}; NAME = {module!r}\n{ANOTHER_MLFLOW}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], cwd=ROOT, env=environment(),
                          capture_output=True, text=True, check=True)  # fmt: skip
    left = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _ in left} == {name for name in CHANGES[module].uses if "." not in name}
    assert {unchanged for _, unchanged in left} == {"True"}
    said = done.stderr.splitlines()
    assert len(said) == len(left)
    for line, (name, _) in zip(said, left, strict=True):
        assert line.startswith("warning: MLflow ")
        assert line.endswith(f" has no {module}.{name} as this project knows it: {CHANGES[module].lost}")


@pytest.fixture
def only_uv(tmp_path, monkeypatch) -> Path:
    """A PATH with uv and nothing else, and no word of conda in the environment; the folder on it."""
    for name in ("MLFLOW_CONDA_HOME", "CONDA_EXE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "uv")
    return tmp_path


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def chosen(by_mlflow: str = "conda") -> str:
    """The manager that the changed module chooses where MLflow itself chooses `by_mlflow`."""
    module = SimpleNamespace(_env_type_to_env_manager=lambda env_typ: by_mlflow)
    uv_without_conda(module)
    return module._env_type_to_env_manager("conda_env")


def test_without_conda_it_is_uv_and_a_line_says_so(only_uv, capsys):
    """MLflow would end in "Could not find Conda executable", which names no other manager."""
    assert chosen() == "uv"
    assert capsys.readouterr().err == "there is no conda here: the environment is uv's, as with --env-manager uv\n"


def test_with_conda_it_is_conda(only_uv, capsys, monkeypatch):
    """On PATH, or where a variable says; a place that the user named is not second-guessed."""
    program(only_uv / "conda")
    assert chosen() == "conda"
    (only_uv / "conda").unlink()
    monkeypatch.setenv("MLFLOW_CONDA_HOME", "/not/there")
    assert chosen() == "conda"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("manager", ["virtualenv", "local"])
def test_another_projects_manager_stays(only_uv, manager):
    """Only a project with a conda.yaml needs conda."""
    assert chosen(manager) == manager


def test_without_uv_mlflows_own_message_stands(only_uv):
    (only_uv / "uv").unlink()
    assert chosen() == "conda"


def built(tmp_path: Path, create) -> object:
    """What `create` gives in the place of MLflow's builder, asked as MLflow asks it."""

    def _create_virtualenv(local_model_path, python_env, env_dir, env_manager="uv", capture_output=False):
        return create(env_dir, capture_output)

    module = SimpleNamespace(_create_virtualenv=_create_virtualenv)
    environments(module)
    return module._create_virtualenv(tmp_path, SimpleNamespace(python="3.11.7"), tmp_path / "new", env_manager="uv")


def test_a_build_is_told_in_two_lines(tmp_path, capsys):
    """Its begin, with the folder, and its end; that it is there already is worth none."""
    assert built(tmp_path, lambda folder, captured: (folder.mkdir(), captured)) == (None, True)
    assert capsys.readouterr().err.splitlines() == [
        f"uv builds the environment, once, in a minute or two: {tmp_path}/new",
        "the environment is built, in 0 s",
    ]
    built(tmp_path, lambda folder, captured: None)
    assert capsys.readouterr().err == ""


def test_a_build_that_fails_shows_the_installers_words(tmp_path, capsys):
    """Above the error, which says what helps."""
    from mlflow.exceptions import ExecutionException
    from mlflow.utils.process import ShellCommandException

    def fail(folder, captured):
        raise ShellCommandException("STDERR:\nno such wheel")

    with pytest.raises(ExecutionException):
        built(tmp_path, fail)
    assert "no such wheel" in capsys.readouterr().err
