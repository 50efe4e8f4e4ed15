"""What the project's own commands and pages leave in a checkout is ignored; a bundle goes where one can."""

import subprocess

import pytest
from click.testing import CliRunner

from tests.support.project import ROOT

LEFT = [
    "mlflow.db", "mlflow.db-journal", "mlruns/0/x", "mlartifacts/x", "basic_auth.db",  # stores
    "run.zip", "bundle-k3s/whole.zip", "docs/run.zip", "minutes.parquet", "minutes.csv", "minutes.part",
    "green_tripdata_2023-04.parquet", "condaenv.x1y2.requirements.txt", "dask-scratch-space/x",
    ".env", ".env.prod", "docs/team/.env", "docs/team/auth.ini", "auth.ini", "tls.key", "tls.pem", ".venv/x",
    "steps/__pycache__/x.pyc", ".hypothesis/x",
]  # fmt: skip


@pytest.mark.parametrize("path", LEFT)
def test_what_commands_leave_is_ignored(path):
    """`git status` stays empty after every command of README and docs, and `git add -A` adds no password."""
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", ["steps/new.py", "taxi/zones.csv", "docs/page.md", "environment.py", "tests/x.json"])
def test_code_is_not_ignored(path):
    """Nor is data beside it, which a module may read."""
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 1


def test_no_file_of_the_project_is_ignored():
    """Else its changes were still recorded, but a new clone's `git add` would pass over it."""
    listed = subprocess.run(["git", "ls-files", "-ci", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    assert listed.stdout == b""


WRONG = {
    "": "is a folder, and a bundle is a file\n Give its name: -P out={folder}/run.zip",
    "file/run.zip": "lies below {folder}/file, which is a file\n",
}


@pytest.mark.parametrize("out", WRONG)
def test_a_bundle_that_cannot_be_written_there_is_said_first(out, client, tmp_path, monkeypatch):
    """Before anything is fetched: one line, exit code 2."""
    from steps.bundle import bundle

    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "file").touch()
    result = CliRunner().invoke(bundle, ["--run-id", "1" * 32, "--out", str(tmp_path / out)])
    assert result.exit_code == 2, result.exception
    assert WRONG[out].format(folder=tmp_path) in result.output


def test_a_bundle_is_not_written_to_a_bucket(client, monkeypatch):
    """It went to a folder called s3: in the working folder."""
    from steps.bundle import bundle

    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    result = CliRunner().invoke(bundle, ["--run-id", "1" * 32, "--out", "s3://bucket/run.zip"])
    assert result.exit_code == 2, result.exception
    assert "out=s3://bucket/run.zip is a URI, and a bundle is a file of this machine" in result.output
