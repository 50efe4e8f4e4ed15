"""What a user types for an artifact: a word, a URI, a run id, JSON, or a path of their own."""

import os

import click
import pytest

from provenance.pipeline import invocation
from provenance.pipeline.options import NOT_NEGATIVE
from steps.options import ArtifactType

AS_GIVEN = [
    "auto",
    "runs:/0f/dataset",
    "s3://bucket/dataset",
    "file:///data",
    "0" * 32,
    ' {"max_depth": 6}',
    "/data/set",
]


@pytest.mark.parametrize("given", AS_GIVEN)
def test_what_is_no_relative_path_stays_as_given(given, monkeypatch):
    """Only a path can be relative to something."""
    monkeypatch.setattr(invocation, "launcher_folder", lambda: invocation.Path("/home/ada"))
    assert ArtifactType("auto").convert(given, None, None) == given


def test_a_relative_path_is_the_users(monkeypatch):
    """The step's own folder is the project's, or that of a temporary clone."""
    monkeypatch.setattr(invocation, "launcher_folder", lambda: invocation.Path("/home/ada"))
    assert ArtifactType("auto").convert("made/dataset", None, None) == "/home/ada/made/dataset"
    assert ArtifactType("auto").convert("~/dataset", None, None) == os.path.expanduser("~/dataset")


def test_the_home_of_nobody_is_no_traceback(monkeypatch):
    """`~name` of a user that does not exist is a path like any other, which will not be there."""
    monkeypatch.setattr(invocation, "launcher_folder", lambda: invocation.Path("/home/ada"))
    assert ArtifactType("auto").convert("~nobody-at-all/x", None, None) == "/home/ada/~nobody-at-all/x"


EMPTY = "it is empty: give true or false"


@pytest.mark.parametrize(("given", "said"), [("", EMPTY), (" \t", EMPTY), ("maybe", "not a valid boolean")])
def test_no_answer_is_not_a_no(given, said):
    """`-P reuse=` would run for an hour what is already there."""
    from click.testing import CliRunner

    from steps.preprocess import preprocess

    result = CliRunner().invoke(preprocess, ["--reuse", given])
    assert result.exit_code == 2
    assert said in result.output


def test_a_password_in_the_trackings_uri_is_refused_unsaid(monkeypatch):
    """MLflow prints that URI with each address; the refusal does not."""
    from click.testing import CliRunner

    from steps.preprocess import preprocess

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://rita:secret-word@127.0.0.1:1")  # pragma: allowlist secret
    result = CliRunner().invoke(preprocess, [])
    assert result.exit_code == 2
    assert "MLFLOW_TRACKING_URI holds a user or password" in result.output
    assert "secret-word" not in result.output


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "five"])
def test_a_number_is_finite(text):
    """Nothing is above NaN, so that a check with it would pass whatever happened."""
    with pytest.raises(click.BadParameter):
        NOT_NEGATIVE.convert(text, None, None)
    assert NOT_NEGATIVE.convert("5", None, None) == 5.0
