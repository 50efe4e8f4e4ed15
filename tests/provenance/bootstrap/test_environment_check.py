"""The environment of a step: a half-built one is completed before anything is imported, by one process at a time."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provenance.bootstrap import environment_check, first_use_lock
from tests.support.project import ROOT, environment
from tests.support.small_project import SmallProject

SAID = "first second a b\n"


@pytest.fixture
def room(tmp_path):
    return SmallProject(tmp_path)


def test_an_empty_environment_is_filled_and_the_step_runs(room):
    """What it lacks is said; the second time nothing is looked at, and no installer needed."""
    code, out, err = room.run()
    assert (code, out) == (0, SAID)
    assert err == f"completing the environment {room.environment}, which lacks first, second\n"
    assert room.run(PATH=os.defpath) == (0, SAID, "")


def test_a_whole_environment_is_left_as_it_is(room):
    """As MLflow builds it: nothing is said."""
    install = ["uv", "pip", "install", "-q", "--python", room.environment, "-r", "requirements.lock"]
    subprocess.run(install, cwd=room.project, check=True)
    assert room.run() == (0, SAID, "")


@pytest.mark.parametrize("before", ["built by earlier code", "its bytecode deleted"])
def test_an_environment_that_is_there_already_is_compiled(room, before):
    """Once, whatever the shell says, and without the installer."""
    shell = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath}
    assert room.run()[0] == 0
    bytecode = room.site / "__pycache__" / f"first.{sys.implementation.cache_tag}.pyc"
    package = room.site / "__pycache__"
    assert bytecode.is_file()
    shutil.rmtree(package)
    if before == "built by earlier code":
        (kept,) = room.environment.glob("checked-files-????????.json")
        kept.write_text(
            json.dumps({name: what for name, what in json.loads(kept.read_text()).items() if name != "compiled"})
        )
    for _ in range(2):
        assert room.run(**shell) == (0, SAID, "")
        assert bytecode.is_file()


def test_a_python_without_bytecode_is_compiled(tmp_path, capsys, monkeypatch):
    """Its own modules, as uv fetches them; what nothing imports is left out, and the second time nothing is done."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("argparse.py", "json/decoder.py", "test/test_json.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("WORD = 1\n")
    environment_check.compile_standard_library(str(tmp_path))
    environment_check.compile_standard_library(str(tmp_path))
    assert capsys.readouterr().err == f"compiling, once, Python's standard library in {tmp_path}\n"
    assert {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")} == {"argparse", "decoder"}


@pytest.mark.parametrize("damage", ["a file gone", "half a file"])
def test_a_package_without_all_its_files_is_installed_again(room, damage):
    """What a build leaves that was killed while it wrote."""
    assert room.run()[0] == 0
    (room.environment / environment_check.WHOLE).unlink()
    module = room.site / "second.py"
    module.unlink()  # a link into uv's cache: not to be written through
    if damage == "half a file":
        module.write_text("WO")
    code, out, err = room.run()
    assert (code, out) == (0, SAID)
    assert err.endswith("which lacks second\n")


def test_certificates_with_a_companys_authority_are_whole(tmp_path):
    """As its machines have them: nothing is installed again, which would take the authority away."""
    info = tmp_path / "second-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("second/cacert.pem,sha256=x,7\nsecond/__init__.py,sha256=x,0\n")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "__init__.py").touch()
    (tmp_path / "second" / "cacert.pem").write_text("public\nof the company\n")
    assert environment_check.intact(info)
    (tmp_path / "second" / "cacert.pem").unlink()
    assert not environment_check.intact(info)


def test_who_comes_while_another_installs_waits_for_it(room):
    """By uv's own lock: it is there as long as the other installs."""
    with (room.environment / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        step = room.start()
        line = step.stderr.readline()
        time.sleep(0.3)
        assert step.poll() is None
    out, _ = step.communicate(timeout=60)
    assert line == f"waiting: another process installs into the environment {room.environment}\n"
    assert (step.returncode, out) == (0, SAID)


def test_of_four_at_once_one_fills_the_environment(room):
    """The others wait for it and then run."""
    steps = [room.start() for _ in range(4)]
    ended = [(step.communicate(timeout=120), step.returncode) for step in steps]
    assert [(out, code) for (out, _), code in ended] == [(SAID, 0)] * 4
    assert sum("completing" in err for (_, err), _ in ended) == 1


def test_an_environment_that_cannot_be_completed_is_named_with_the_remedy(room):
    """A package that is nowhere to be had: one error, no traceback, and nobody takes the environment for whole."""
    next((room.project.parent / "wheels").glob("second*")).unlink()
    for _ in range(2):
        code, out, err = room.run()
        assert (code, out) == (1, "")
        assert f"Error: {room.environment} lacks first, second and cannot be completed: " in err
        assert err.endswith("\n Delete that folder and run again.\n")
        assert "Traceback" not in err


def test_an_environment_of_somebody_elses_making_is_not_touched(room):
    """Another name: what it lacks is its owner's matter."""
    mine = room.environment.rename(room.environment.parent / "mine")
    room.environment = mine
    code, _, err = room.run()
    assert code == 1
    assert f"{mine}/bin/python lacks first, second" in err
    assert not list(room.site.glob("first*"))


def test_this_environment_lacks_nothing():
    """What `make setup` installs is whole by the same measure, with every package of the real lock."""
    assert environment_check.missing_packages() == []


def test_the_launcher_and_the_doors_make_nothing_twice():
    """MLflow's own functions are the ones changed, once, by the very file that the doors use."""
    program = (
        "from provenance.bootstrap.start import start_step; start_step()\n"
        "import mlflow_first_use_lock, mlflow.store.db.utils as db; from mlflow.projects.backend import local\n"
        "for made in (local._create_virtualenv, db._initialize_tables, db._all_tables_exist):\n"
        "    print(hasattr(made, '__wrapped__'), hasattr(made.__wrapped__, '__wrapped__'))\n"
        "print(mlflow_first_use_lock.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    *changed, copy = done.stdout.splitlines()
    assert changed == ["True False"] * 3
    assert Path(copy).read_bytes() == Path(first_use_lock.__file__).read_bytes()


@pytest.mark.slow
def test_three_first_uses_of_a_database_at_once_make_its_tables_once(tmp_path):
    """The others wait; MLflow alone would have two of them fail."""
    program = "import sys, mlflow; print(len(mlflow.MlflowClient(sys.argv[1]).search_experiments()))"
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/mlflow.db"]
    openers = [
        subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        for _ in range(3)
    ]
    ended = [(*opener.communicate(timeout=300), opener.returncode) for opener in openers]
    assert [(out, code) for out, _, code in ended] == [("1\n", 0)] * 3, ended
    assert sum("Updating database tables" in err for _, err, _ in ended) == 1
