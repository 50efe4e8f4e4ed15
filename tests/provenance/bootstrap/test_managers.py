"""A step whose run says conda, uv or virtualenv runs in what that manager built for this project, or refuses."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.utils.environment import _PythonEnv
from mlflow.utils.virtualenv import _get_virtualenv_name

from provenance.bootstrap.managers import REMEDIES, WrongEnvironment, check_interpreter
from provenance.record import names
from tests.support.project import ROOT

CONDA = f"mlflow-{hashlib.sha1((ROOT / 'conda.yaml').read_bytes()).hexdigest()}"
OTHER = _get_virtualenv_name(_PythonEnv.from_conda_yaml(str(ROOT / "conda.yaml")), ROOT)
BUILT = {"conda": (CONDA, "conda-meta"), "uv": (OTHER, "pyvenv.cfg"), "virtualenv": (OTHER, "pyvenv.cfg")}


def run_of(manager: str | None) -> SimpleNamespace:
    tags = {names.PROJECT_ENV: manager} if manager else {}
    return SimpleNamespace(info=SimpleNamespace(run_id="1" * 32), data=SimpleNamespace(tags=tags))


def prefix(folder: Path, name: str, mark: str) -> str:
    made = folder / name
    made.mkdir()
    (made / mark).mkdir() if mark == "conda-meta" else (made / mark).touch()
    return str(made)


@pytest.mark.parametrize("manager", BUILT)
def test_the_managers_own_environment_will_do(manager, tmp_path):
    """It has the name that MLflow gives it for this project."""
    check_interpreter(run_of(manager), ROOT, prefix(tmp_path, *BUILT[manager]))


ANOTHER = {
    "the launcher's": (".venv", "pyvenv.cfg"),
    "conda's base": ("miniconda3", "conda-meta"),
    "of another project": ("mlflow-" + "0" * 40, "pyvenv.cfg"),
    "of another project, by conda": ("mlflow-" + "0" * 40, "conda-meta"),
    "its namesake by another manager": (CONDA, "pyvenv.cfg"),
}


@pytest.mark.parametrize("another", ANOTHER)
@pytest.mark.parametrize("manager", BUILT)
def test_any_other_is_refused_with_the_remedy(manager, another, tmp_path):
    """Whatever was first on PATH."""
    where = prefix(tmp_path, *ANOTHER[another])
    with pytest.raises(WrongEnvironment) as refused:
        check_interpreter(run_of(manager), ROOT, where)
    assert str(refused.value) == (
        f"run {'1' * 32} says {manager}, and its step runs in {where}, which is not the environment that "
        f"{manager} built for it\n {REMEDIES[manager]}"
    )


@pytest.mark.parametrize("manager", ["local", None])
def test_with_local_any_will_do(manager, tmp_path):
    """That is what it is for; and where there is no run, nothing says otherwise."""
    check_interpreter(run_of(manager), ROOT, str(tmp_path))
    check_interpreter(None, ROOT, str(tmp_path))
