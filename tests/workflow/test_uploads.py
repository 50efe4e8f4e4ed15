"""What a step sends to the tracking server of the folder it runs in: named, no secret, and only for its own work."""

import os
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from provenance.record import names
from tests.support import repository
from tests.support.in_process import from_committed_copy
from tests.support.project import SMALL, copied, workplace
from tests.support.records import recorded

SECRET = "hunter2hunter2"  # pragma: allowlist secret
ABOUT = {
    ".env": f"PASSWORD={SECRET}\n".encode(),
    "docs/team/auth.ini": f"database_uri = postgresql://mlflow:{SECRET}@database/mlflow\n".encode(),
    "trips.csv": b"1,2,3\n" * 1_000_000,
    "run.zip": b"PK" + os.urandom(100_000),
}


@pytest.fixture
def project(tmp_path, client, monkeypatch) -> Path:
    """A committed copy of this project, from which the steps of this process believe to run."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trips")
    return from_committed_copy(tmp_path / "project", monkeypatch)


def step(name: str = "preprocess", **params: str):
    """The command's result, and the newest run of the step."""
    from mlflow import MlflowClient

    os.environ.pop("MLFLOW_RUN_ID", None)
    params = {"source": "sample:300", **params} if name == "preprocess" else params
    words = [word for key, value in params.items() for word in ("--" + key.replace("_", "-"), value)]
    result = CliRunner().invoke(getattr(import_module(f"steps.{name}"), name), words)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("trips").experiment_id
    return result, client.search_runs([experiment], max_results=1)[0]


def artifacts(run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_merely_lies_in_the_folder_stays_there(project, client, tmp_path):
    """Passwords, data and a bundle beside the code: the run is one of the clean commit, and nothing of them is sent."""
    repository.write(project, ABOUT)
    result, run = step()
    assert result.exit_code == 0, result.output
    assert (run.data.tags[names.DIRTY], recorded(client, run.info.run_id).source["patch"]) == ("false", None)
    assert not (artifacts(run) / names.PATCH_FILE).exists()
    assert "uploading" not in result.stderr
    assert SECRET.encode() not in everything(tmp_path / "artifacts") + (tmp_path / "mlflow.db").read_bytes()


def test_what_is_sent_is_named_and_a_reused_run_sends_nothing(project, client):
    """Each file of the patch with its size, also with quiet=true; readable by its owner alone where it is kept."""
    repository.write(project, ABOUT | {"taxi/new.py": b"# new\nX = 1\n"})
    with (project / "steps/preprocess.py").open("a") as file:
        file.write("\nimport taxi.new\n")
    result, made = step(quiet="true")
    assert result.exit_code == 0, result.output
    size = (project / "steps/preprocess.py").stat().st_size / 1000
    told = [
        f"uploading patch.diff: steps/preprocess.py ({size:.1f} kB)",
        "uploading patch.diff: taxi/new.py (12 bytes)",
    ]
    assert [line for line in result.stderr.splitlines() if "patch.diff" in line] == told
    assert (artifacts(made) / names.PATCH_FILE).stat().st_mode & 0o777 == 0o600
    again, reused = step()
    assert reused.data.tags[names.REUSED] == made.info.run_id
    assert "uploading" not in again.stderr and not (artifacts(reused) / names.PATCH_FILE).exists()
    patches = [recorded(client, run.info.run_id).source["patch"] for run in (made, reused)]
    assert patches[0] and patches[0] == patches[1]


def test_a_model_carries_the_code_that_it_reads_and_nothing_beside_it(tmp_path, monkeypatch):
    """A draft, data and passwords that lie in the package stay here: MLflow copies whole folders."""
    from steps.models import logged_model

    root = copied(tmp_path / "project")
    drafts = {"taxi/draft.py": b"1\n", "taxi/.env": b"A=1\n", "taxi/trips.csv": b"1\n", "taxi/engines/more.txt": b"1\n"}
    repository.write(root, drafts)
    monkeypatch.setattr(logged_model, "ROOT", root)
    found = {
        path.relative_to(tmp_path / "to").as_posix()
        for path in logged_model.source("xgboost").copy_code(tmp_path / "to")[0].rglob("*")
    }
    assert {
        "taxi/__init__.py",
        "taxi/models/predictor.py",
        "taxi/models/boosting.py",
        "taxi/features/fitting.py",
    } <= found
    assert not found & drafts.keys()


def test_a_secret_in_the_changes_ends_the_step_before_anything_is_sent(project, client, tmp_path):
    """One error with file and line; neither the line nor a patch is anywhere afterwards."""
    with (project / "steps/preprocess.py").open("a") as file:
        file.write(f'\nPASSWORD = "{SECRET}"\n')
    lines = (project / "steps/preprocess.py").read_text().count("\n")
    result, run = step()
    assert result.exit_code == 2
    assert f"  steps/preprocess.py, line {lines}: Secret Keyword" in result.stderr
    assert SECRET not in result.output
    assert SECRET.encode() not in everything(tmp_path / "artifacts") + (tmp_path / "mlflow.db").read_bytes()
    assert run.info.status == "FAILED"


def test_a_checkout_of_another_user_is_refused_with_gits_remedy(project, client, tmp_path, monkeypatch):
    """Instead of a run of `a plain folder`, which nobody can reproduce."""
    repository.owned_by_another(monkeypatch, tmp_path / "bin")
    result, run = step()
    assert result.exit_code == 2
    assert f"git config --global --add safe.directory {project}" in result.stderr
    assert names.KEY not in run.data.tags and run.info.status == "FAILED"


def test_a_machine_without_git_is_told(project, client, monkeypatch):
    """The run goes on as one of a plain folder; stderr and its page say why."""
    monkeypatch.setenv("PATH", "/nowhere")
    result, run = step()
    assert result.exit_code == 0, result.output
    assert "this run cannot be reproduced elsewhere: git cannot be started in" in result.stderr
    assert "commit none (git cannot be started in" in run.data.tags[names.NOTE]


@pytest.mark.slow
def test_mlflow_run_of_a_folder_with_secrets_data_and_a_new_module(tmp_path, migrated_store):
    """The real thing: the whole chain of a dirty tree, again, and repeated from what was recorded."""
    root = copied(tmp_path / "project")
    repository.commit(root)
    repository.write(root, ABOUT | {"taxi/new.py": b"X = 1\n"})
    for name in ("preprocess", "train", "hpo", "register"):
        with (root / f"steps/{name}.py").open("a") as file:
            file.write("\nimport taxi.new\n")
    place = workplace(tmp_path / "place", migrated_store)
    made = place.run("main", root, **SMALL, model="linear")
    assert made.exit_code == 0, made.stderr
    assert "uploading patch.diff: taxi/new.py (6 bytes)" in made.stderr
    assert SECRET.encode() not in everything(place.folder)
    before = {path for path in place.folder.rglob(names.PATCH_FILE)}
    assert len(before) == 4  # of the steps that worked
    again = place.run("main", root, **SMALL, model="linear")
    assert again.exit_code == 0, again.stderr
    assert "uploading" not in again.stderr
    assert {path for path in place.folder.rglob(names.PATCH_FILE)} == before
    judged = place.run("reproduce", root, run_id=made.run_id, patch="true")
    assert "grade identical" in judged.stdout, judged.stderr
