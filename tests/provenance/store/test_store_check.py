"""A store is looked at before MLflow opens it: another version's, another machine's or a moved one stays as it is."""

import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from provenance.store.store_check import StoreError, check, tell_moved
from tests.support.project import LAUNCHER, ROOT, Workplace, environment, workplace

OLDER, NEWER = "0584bdc529eb", "ffffffffffff"  # MLflow 2.22's newest, and one that nobody knows
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def uri(store: Path) -> str:
    return f"sqlite:///{store}"


def digest(store: Path) -> str:
    """Of the file and of the names beside it: a journal, say."""
    names = sorted(path.name for path in store.parent.iterdir())
    return hashlib.sha256(store.read_bytes()).hexdigest() + str(names)


def change(store: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(store) as database:
        database.execute(statement, values)


@pytest.fixture
def store(migrated_store, tmp_path) -> Path:
    """A store of this MLflow, its artifacts beside it."""
    path = tmp_path / "place" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(migrated_store, path)
    change(path, "UPDATE experiments SET artifact_location = ?", f"{path.parent}/mlruns/0")
    return path


@pytest.fixture
def older(store) -> Path:
    """As MLflow 2.22 leaves one: an earlier revision, and a table less."""
    change(store, "UPDATE alembic_version SET version_num = ?", OLDER)
    change(store, "DROP TABLE jobs")
    return store


def test_a_store_of_this_mlflow_is_taken(store, tmp_path):
    """So are one that is not there yet, an empty file, and databases that only MLflow can look into."""
    (tmp_path / "empty.db").touch()
    for good in (store, tmp_path / "none.db", tmp_path / "empty.db"):
        check(uri(good))
    for good in ("", "http://127.0.0.1:5000", "postgresql://u@h/d", "sqlite://", "sqlite:///:memory:", "databricks"):
        check(good)
    assert not (tmp_path / "none.db").exists()


def test_an_older_store_is_refused_and_not_changed(older):
    """Whose it is, what would become of it, and three ways on."""
    before = digest(older)
    with pytest.raises(StoreError, match=r"by MLflow 2\.22\.5 .*could not open it any more once MLflow 3") as error:
        check(uri(older), made_by="MLflow 2.22.5 (/x/mlflow)")
    assert "Use another store" in str(error.value)
    assert f"mlflow db upgrade {uri(older)}" in str(error.value)
    assert digest(older) == before


def test_a_newer_store_is_refused_and_not_called_out_of_date(store):
    """MLflow itself advises to upgrade it, which this version cannot."""
    change(store, "UPDATE alembic_version SET version_num = ?", NEWER)
    before = digest(store)
    with pytest.raises(StoreError, match=r"made by a newer MLflow, and MLflow 3.* cannot open it") as error:
        check(uri(store))
    assert "upgrade" not in str(error.value)
    assert digest(store) == before


def test_a_store_of_the_first_mlflow_is_an_older_one(store):
    """Before 1.0 no revision was written."""
    change(store, "DROP TABLE alembic_version")
    with pytest.raises(StoreError, match="made by an older MLflow"):
        check(uri(store))


def test_a_store_that_was_never_used_may_be_finished(older):
    """Whoever made its tables was killed before the first experiment was in it."""
    change(older, "DELETE FROM experiments")
    check(uri(older))


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_refuses_an_older_store(older, name):
    """`plan`, `gc` and each inquiry too; nothing is written."""
    assert_refused(older, name, "MLFLOW_TRACKING_URI")


def test_an_older_registry_is_refused(older):
    """It is a store of its own where its URI is set."""
    assert_refused(older, "rollback", "MLFLOW_REGISTRY_URI")


def assert_refused(older: Path, name: str, variable: str) -> None:
    before = digest(older)
    env = environment({variable: uri(older), "PYTHONPATH": str(ROOT)})
    done = subprocess.run([sys.executable, "-m", f"steps.{name}"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {uri(older)} was made by an older MLflow")
    assert digest(older) == before


@pytest.mark.parametrize("command", ["experiments search", f"run {ROOT} -e gc --env-manager local"])
def test_our_launcher_leaves_an_older_store_as_it_is(older, command):
    """It opens the store before any step does."""
    before = digest(older)
    done = subprocess.run(
        [LAUNCHER, *command.split()], cwd=older.parent, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "was made by an older MLflow" in done.stderr
    assert "Traceback" not in done.stderr
    assert digest(older) == before


def test_our_launcher_says_in_a_line_what_mlflow_refuses(tmp_path):
    """Runs in files make MLflow's default another store, which it then refuses: in forty lines, without."""
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    done = subprocess.run([LAUNCHER, "run", str(ROOT), "-e", "gc", "--env-manager", "local"], cwd=tmp_path,
                          env=environment(), capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: MLflow: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("location", [
    "file:///C:/code/mlruns/0", "/D:/code/mlruns/0", "D:\\code\\mlruns\\0", "C:/mlruns/0", "\\\\server\\mlruns\\0",
    "file://server/share/mlruns/0", "file:///D:/a%20b/0", "/no/such/folder/mlruns/0", "file:///no/such/folder/x",
    "mlruns/0", "./mlruns/0",
])  # fmt: skip
def test_artifacts_of_another_machine_are_refused(store, location):
    """They would be written to a folder of that name: /D:/code at the root of this disk."""
    change(store, "UPDATE experiments SET artifact_location = ?", location)
    client = MlflowClient(uri(store))
    run_id, _ = (client.create_run("0").info.run_id for _ in range(2))
    before = digest(store)
    for run in ("", run_id):
        with pytest.raises(StoreError, match=r"keeps (the )?artifacts [^\0]*--experiment-name"):
            check(uri(store), run)
    assert digest(store) == before


def test_a_server_of_another_machine_is_refused_too(client, monkeypatch):
    """Its artifacts are no server's and no bucket's: a step would write to a folder of that name here."""
    from provenance.pipeline.report_run import report_run
    from steps.pipeline import PIPELINE

    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment("far", artifact_location="file:///C:/code/1"))
    with (
        pytest.raises(StoreError, match=r"file:///C:/code/1/\S+, a folder of another machine"),
        report_run(PIPELINE, "gc", {}),
    ):
        pass


@pytest.mark.parametrize("location", ["s3://bucket/mlruns/0", "mlflow-artifacts:/0", "hdfs://host/0", "{}/mlruns/0",
                                      "{}/other/0", "file://{}/mlruns/0", "file://localhost{}/a%20b/0"])  # fmt: skip
def test_artifacts_elsewhere_are_fine(store, tmp_path, location):
    """A bucket, a server, and folders of this machine that are there or can be made."""
    change(store, "UPDATE experiments SET artifact_location = ?", location.format(tmp_path))
    check(uri(store))


def test_another_experiments_lost_folder_stops_nobody(store):
    """Only where this run is going to write counts."""
    client = MlflowClient(uri(store))
    lost = client.create_experiment("lost", artifact_location="/no/such/folder/0")
    check(uri(store), "", lost)  # nobody was there yet: a folder to be made
    client.create_run(lost)
    check(uri(store))
    check(uri(store), client.create_run("0").info.run_id, lost)
    with pytest.raises(StoreError, match="'lost'"):
        check(uri(store), "", lost)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_store_that_was_moved_says_so_and_can_be_told(store, tmp_path, how):
    """Its artifacts came along, but it still names their old place; then it is told, and finds them."""
    client = MlflowClient(uri(store))
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "kept", "note.txt")
    check(uri(store), run_id)
    now = tmp_path / "now with blank" / "mlflow.db"
    (shutil.move if how == "moved" else shutil.copytree)(store.parent, now.parent)
    before = digest(now)
    for run in ("", run_id):
        with pytest.raises(StoreError, match=f"was moved or copied with them to {now.parent}"):
            check(uri(now), run)
    assert digest(now) == before
    assert tell_moved(now) == 2  # of the experiment and of its run
    check(uri(now), run_id)
    client = MlflowClient(uri(now))
    assert client.get_run(run_id).info.artifact_uri == f"{now.parent}/mlruns/0/{run_id}/artifacts"
    assert client.download_artifacts(run_id, "note.txt", str(tmp_path)).endswith("note.txt")
    assert tell_moved(now) == 0


@pytest.mark.slow
def test_a_moved_store_that_was_told_is_used_as_before(migrated_store, tmp_path):
    """A whole run: refused where everything would run again, then reused."""
    before = workplace(tmp_path / "before", migrated_store)
    made = before.run("preprocess", source="sample:1000")
    assert made.exit_code == 0, made.stderr
    shutil.move(before.folder, tmp_path / "after")
    after = Workplace(tmp_path / "after")
    refused = after.run("preprocess", source="sample:1000")
    assert refused.exit_code == 1
    (file,) = re.findall(r"`\S+ -m provenance\.store\.store_check (\S+)`", refused.errors())
    assert not before.folder.exists()
    subprocess.run([sys.executable, "-m", "provenance.store.store_check", file], cwd=ROOT, check=True)
    again = after.run("preprocess", source="sample:1000")
    assert f"reused run {made.run_id}" in again.stderr
    assert not before.folder.exists()


def test_a_link_to_the_stores_folder_is_no_move(store, tmp_path):
    """Two names of one place."""
    client = MlflowClient(uri(store))
    client.log_text(client.create_run("0").info.run_id, "kept", "note.txt")
    (tmp_path / "link").symlink_to(store.parent)
    check(uri(tmp_path / "link" / "mlflow.db"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    """MLflow tries ten times, with as many warnings."""
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"mlflow\.db is no sqlite database"):
        check(uri(tmp_path / "mlflow.db"))


def test_a_store_of_files_is_refused_unless_asked_for(tmp_path, monkeypatch):
    """MLflow 2 keeps runs in files, and steps could not open them."""
    for files in (tmp_path.as_uri(), str(tmp_path), "./mlruns"):
        with pytest.raises(StoreError, match="is a store of files"):
            check(files)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check(tmp_path.as_uri())
