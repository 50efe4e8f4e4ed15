"""The shell around every step: which errors are the user's, said in a line."""

import importlib
import json
import subprocess
import sys

import numpy
import pytest

from provenance.pipeline.cli import _is_ours
from provenance.record.artifacts import ArtifactError, open_artifact
from tests.support.project import ROOT, environment, workplace


def test_a_doors_own_error_is_one_clear_line():
    """Started as MLproject starts it the door is called __main__, and so are the errors that it defines."""
    command = [sys.executable, "-m", "steps.train", "--params", "{'max_depth': 6}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: params is not JSON (")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("uri", ["s3://bucket/x", "gs://bucket/x"])
def test_a_store_whose_client_is_not_installed_is_said_to_need_it(uri):
    """MLflow knows its scheme, and would end in "No module named ..."."""
    with (
        pytest.raises(ArtifactError, match=r"lies in a store that needs .*, which is not installed here"),
        open_artifact(uri, given=True),
    ):
        pass


@pytest.mark.parametrize("kind", [json.JSONDecodeError, numpy.linalg.LinAlgError, UnicodeDecodeError])
def test_an_error_of_python_or_of_a_package_keeps_its_traceback(kind):
    """It says nothing that a user could do, wherever the package is installed."""
    assert issubclass(kind, ValueError)
    assert not _is_ours(kind)


def test_an_error_of_a_package_outside_site_packages_is_not_ours(tmp_path, monkeypatch):
    """Debian installs packages in dist-packages."""
    package = tmp_path / "dist-packages" / "foreign.py"
    package.parent.mkdir()
    package.write_text("class Broken(ValueError):\n    pass\n")
    monkeypatch.syspath_prepend(str(package.parent))
    assert not _is_ours(importlib.import_module("foreign").Broken)
    assert _is_ours(ArtifactError)


def test_an_error_of_an_engine_that_is_a_link_is_one_clear_line(tmp_path, migrated_store):
    """As in examples/wine, whose packages of the engine are links to those around it."""
    command = [sys.executable, "-m", "steps.main", "reproduce", "--run-id", "0" * 32]
    variables = environment({"MLFLOW_TRACKING_URI": workplace(tmp_path / "place", migrated_store).store})
    done = subprocess.run(command, cwd=ROOT / "examples" / "wine", env=variables, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        "Run with id=00000000000000000000000000000000 not found\n Give a run's id of this tracking store" in done.stderr
    )
    assert "Traceback" not in done.stderr
