"""The shell around every step: which errors are the user's, said in a line."""

import subprocess
import sys

import pytest

from provenance.record.artifacts import ArtifactError, open_artifact
from tests.support.project import ROOT


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
