"""Where a record and an experiment may send a reader: to the tracking store alone, and to no folder of the reader's."""

from pathlib import Path

import mlflow
import pytest

from provenance.pipeline.cli import open_session
from provenance.record import artifacts, names
from provenance.record.artifacts import ArtifactError, address, open_artifact, open_verified, problems, small_file
from provenance.record.lineage import Input, Output
from provenance.record.problem import ProblemKind
from provenance.reproduce.recorded_run import RecordedRun, external_of, upstream
from provenance.reproduce.reproduce import ReplayOptions, ReproductionError, check_inputs, location_of
from provenance.reproduce.verdict import Made
from provenance.store import locations
from provenance.store.locations import LocationError
from steps.pipeline import PIPELINE
from steps.raw_months import RawMonths
from tests.support.foreign_server import foreign_server
from tests.support.records import RECORD, A

ELSEWHERE = "/api/2.0/mlflow-artifacts/artifacts/taxi"


@pytest.fixture
def evil(monkeypatch):
    """Somebody else's server, while MLflow's client has a user and a password."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hers")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with foreign_server() as server:
        yield server


@pytest.fixture
def private(tmp_path) -> Path:
    """A folder of the reader's own."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "diary.txt").write_text("dear diary")
    return folder


def run_at(client, location: str) -> str:
    """A run in an experiment whose maker chose where its artifacts lie."""
    experiment = client.create_experiment(f"at {location}", artifact_location=location)
    return client.create_run(experiment).info.run_id


def read_everything(uri: str) -> None:
    """In every way in which an artifact is looked at."""
    output, item = Output("dataset", uri, A, {"manifest.json": (2, A)}), Input("dataset", uri, A)
    assert problems(output)
    for read in (open_artifact, open_verified, small_file, address):
        with pytest.raises(ArtifactError):
            used = read(uri if read is not open_verified else item)
            used.__enter__()


def test_an_experiment_at_another_server_gets_no_password(client, evil):
    """MLflow's client sends it to any address at which a run's artifacts lie."""
    run_id = run_at(client, evil.uri + ELSEWHERE)
    read_everything(f"runs:/{run_id}/dataset")
    assert evil.asked == []


@pytest.mark.parametrize("at", ["a run's", "a model's", "a version's", "an address", "an artifact service"])
def test_no_uri_of_a_record_leads_to_another_server(client, evil, at):
    """By whatever it names: nothing is sent there, and nothing asked."""
    host = evil.uri.removeprefix("http://")
    run_id = run_at(client, evil.uri + ELSEWHERE)
    if at == "a model's":
        experiment = client.get_run(run_id).info.experiment_id
        uri = f"models:/{client.create_logged_model(experiment, name='m', source_run_id=run_id).model_id}"
    elif at == "a version's":
        client.create_registered_model("taxi")
        client.create_model_version("taxi", evil.uri + ELSEWHERE)
        uri = "models:/taxi/1"
    else:
        uri = {"a run's": f"runs:/{run_id}/x", "an address": evil.uri + ELSEWHERE,
               "an artifact service": f"mlflow-artifacts://{host}/x"}[at]  # fmt: skip
    read_everything(uri)
    assert evil.asked == []


def test_a_step_leaves_nothing_at_another_server(client, evil):
    """Its own experiment was made by somebody else."""
    run = client.get_run(run_at(client, evil.uri + ELSEWHERE))
    with pytest.raises(LocationError, match="nothing is sent there"):
        open_session(PIPELINE, {}, run)
    assert open_session(PIPELINE, {}, client.create_run("0")).run


def test_a_user_who_names_another_server_sends_it_no_password_either(client, evil):
    """His own folder, and a bucket, he may name: see `open_artifact`."""
    for uri in (evil.uri + ELSEWHERE, f"mlflow-artifacts://{evil.uri.removeprefix('http://')}/x"):
        with pytest.raises(ArtifactError, match="nothing is sent there"), open_artifact(uri, given=True):
            pass
    assert evil.asked == []


@pytest.mark.parametrize("uri", ["{private}", "file://{private}", "runs:/{run}/../../private", "models:/taxi/1",
                                 "runs:/{run}/%2e%2e/x", "runs:/{run}/{private}", "s3://bucket/key"])  # fmt: skip
def test_a_private_folder_is_not_read_whatever_leads_there(client, private, uri):
    """Its digest alone would be published with the reader's next run."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    client.create_registered_model("taxi")
    client.create_model_version("taxi", private.as_uri())
    run_id = client.create_run(experiment).info.run_id
    uri = uri.format(private=private, run=run_id)
    assert "diary" not in str(problems(Output("dataset", uri, A, {})))
    with pytest.raises(ArtifactError), open_artifact(uri):
        pass


def test_a_bucket_whose_client_is_not_installed_is_a_reason(client):
    """An experiment of anybody's may lie in one: its runs are passed over."""
    run_id = run_at(client, "gs://bucket/taxi")
    [problem] = problems(Output("dataset", f"runs:/{run_id}/dataset", A, {}))
    assert (problem.output, problem.kind) == ("dataset", ProblemKind.UNAVAILABLE)
    with pytest.raises(ArtifactError, match="not installed here"), open_artifact(f"runs:/{run_id}/dataset"):
        pass


def test_a_link_in_the_place_of_an_artifact_is_not_followed(client, private, tmp_path):
    """Neither for the whole folder of a run nor for one artifact: somebody with an account on the machine made it."""
    store = tmp_path / "theirs"
    run_id, other = run_at(client, store.as_uri()), run_at(client, (tmp_path / "more").as_uri())
    (store / run_id).mkdir(parents=True)
    (store / run_id / "artifacts").symlink_to(private)
    (tmp_path / "more" / other / "artifacts").mkdir(parents=True)
    (tmp_path / "more" / other / "artifacts" / "dataset").symlink_to(private)
    for uri in (f"runs:/{run_id}/diary.txt", f"runs:/{other}/dataset"):
        with pytest.raises(ArtifactError), open_artifact(uri):
            pass


def test_a_store_that_says_a_folder_is_a_runs_is_not_believed(client, private, tmp_path):
    """`artifact_uri` is the server's word: a place of the run's own ends in its id."""
    import sqlite3

    run_id = run_at(client, (tmp_path / "theirs").as_uri())
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("update runs set artifact_uri = ? where run_uuid = ?", (private.parent.as_uri(), run_id))
    with pytest.raises(ArtifactError, match="not its own place"), open_artifact(f"runs:/{run_id}/private"):
        pass


@pytest.fixture
def server_uri():
    """As if the tracking store were a server's."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("https://mlflow.example.org")
    yield "https://mlflow.example.org"
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/0/x", "mlflow-artifacts://mlflow.example.org/0/x", "s3://bucket/x",
                                 "https://MLflow.example.org:443/x", "gs://bucket/x", "/a/folder", "file:///a/folder",
                                 "abfss://files@account.dfs.core.windows.net/x"])  # fmt: skip
def test_the_trackings_own_server_and_buckets_are_reached(server_uri, uri):
    """Whatever the spelling of the server's own address."""
    assert locations.of_given(uri)


@pytest.mark.parametrize("uri", ["http://mlflow.example.org/x", "https://mlflow.example.org:8443/x", "ftp://a/x",
                                 "https://mlflow.example.org.evil.net/x", "mlflow-artifacts://mlflow.example.org:1/x",
                                 "https://ada@evil.net/x", "https://mlflow.example.org@evil.net/x", "sftp://a/x",
                                 "abfss://files@account.evil.net/x", "file://host/share"])  # fmt: skip
def test_another_server_is_not_taken_for_it(server_uri, uri):
    """Another port or scheme is another server."""
    with pytest.raises(LocationError):
        locations.of_given(uri)


def test_a_huge_record_is_not_read(client):
    """A lineage.json of 300 MB costs nothing: a real one has a few kilobytes."""
    run_id = client.create_run(client.get_experiment_by_name("trips").experiment_id).info.run_id
    client.log_text(run_id, "{}", names.LINEAGE_FILE)
    uri = f"runs:/{run_id}/{names.LINEAGE_FILE}"
    with open_artifact(uri) as path, path.open("r+b") as file:
        file.truncate(300_000_000)
    with pytest.raises(ArtifactError, match="300,000,000 bytes"):
        small_file(uri)


def test_a_huge_record_of_a_server_is_not_fetched(client, monkeypatch):
    """Its size is asked for first."""
    run_id = client.create_run(client.get_experiment_by_name("trips").experiment_id).info.run_id
    client.log_text(run_id, "x" * 1000, names.LINEAGE_FILE)
    monkeypatch.setattr(artifacts, "_local_folder", lambda location: None)
    monkeypatch.setattr(artifacts, "_copied", lambda *given: pytest.fail("fetched"))
    with pytest.raises(ArtifactError, match="1,000 bytes"):
        small_file(f"runs:/{run_id}/{names.LINEAGE_FILE}", most=999)


def original(step: str, *inputs: Input) -> RecordedRun:
    from dataclasses import replace

    lineage = replace(RECORD, step=step, inputs=inputs)
    made = Made("1" * 32, lineage, {})
    return RecordedRun(made, {}, upstream=upstream(lineage), external=external_of(PIPELINE, lineage))


@pytest.mark.parametrize("uri", ["http://evil/dataset", "/home/ada/private", "s3://bucket/dataset", "models:/taxi/1"])
def test_a_run_that_read_anything_but_a_runs_output_is_not_repeated(uri):
    """The step would fetch it from there, in the reader's name."""
    with pytest.raises(ReproductionError, match="which no run made"):
        check_inputs(original("hpo", Input("dataset", uri, A)))
    check_inputs(original("hpo", Input("dataset", "runs:/" + "1" * 32 + "/dataset", A)))


@pytest.mark.parametrize("source", ["http://evil/months", "/home/ada/private", "s3://bucket/months"])
def test_months_are_read_where_the_reader_says(source):
    """A record of a server names no folder and no address; one of one's own store may; the sample is everybody's."""
    with pytest.raises(ReproductionError, match="-P source="):
        location_of(RawMonths(), original("preprocess", Input("2023-01", source, A)), ReplayOptions(own=False))
    own = ReplayOptions(own=True)
    assert location_of(RawMonths(), original("preprocess", Input("2023-01", source, A)), own) == source
    sample = original("preprocess", Input("2023-01", "sample:10", A))
    assert location_of(RawMonths(), sample, ReplayOptions(own=False)) == "sample:10"
