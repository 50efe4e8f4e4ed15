"""A model by its URI, and the dataset behind it, by the runs that recorded it."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.utils.file_utils import local_file_uri_to_path

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError, output_record
from provenance.record.lineage import Input
from steps.models.registered import ModelUriError, Registered, dataset_of, registered
from steps.pipeline import PIPELINE
from steps.predict import predict
from taxi.models.predictor import PredictorError
from tests.support.finished_runs import SEARCH, TRAIN, finish, left, searched
from tests.support.records import reading

MODEL = "models:/m-" + "1" * 32
DATASET = Input("dataset", "runs:/" + "1" * 32 + "/dataset", "a" * 64)


@pytest.fixture
def session(client) -> Session:
    return Session(PIPELINE, client, None, quiet=True)


def run(session: Session, **tags: str) -> str:
    experiment = session.client.get_experiment_by_name("trips").experiment_id
    return session.client.create_run(experiment, tags=tags).info.run_id


def model_of(run_id: str) -> Registered:
    return Registered("models:/trips/1", MODEL.removeprefix("models:/"), "b" * 64, run_id, None)


def test_the_dataset_is_that_of_the_run_or_of_the_search_behind_it(session):
    """A train run says it itself, a trial by its search, a register run by the search it chose from."""
    client, main = session.client, run(session)
    search = searched(client, replace(SEARCH, inputs=(DATASET,)).with_key(), uri=MODEL)
    train = left(client, replace(TRAIN, inputs=(DATASET,)).with_key())
    trial = run(session, **{names.PARENT: search, names.TRIAL: "3"})
    output = session.hit(search).outputs["search"]
    register = run(session, **{names.PARENT: main})
    finish(client, register, replace(TRAIN, step="register", inputs=(Input("search", output.uri, output.digest),)))
    for run_id in (train, trial, register):
        assert dataset_of(session, model_of(run_id)) == DATASET


def test_the_dataset_is_not_what_a_tag_says(session):
    """Tags are set by anybody who may write; the record is pinned, and a trial is of the search that has its model."""
    elsewhere = "runs:/" + "2" * 32 + "/dataset"
    forged = reading("dataset", elsewhere) | reading("dataset", elsewhere, earlier=True)
    other = searched(session.client, uri="models:/m-" + "3" * 32)
    trial = run(session, **{names.PARENT: other, names.TRIAL: "3"})
    for run_id in (run(session, **forged), trial):
        with pytest.raises(RunError, match="says from which dataset"):
            dataset_of(session, model_of(run_id))
    train = left(session.client, replace(TRAIN, inputs=(DATASET,)).with_key())
    for name, value in forged.items():
        session.client.set_tag(train, name, value)
    assert dataset_of(session, model_of(train)) == DATASET


def test_a_model_that_no_run_speaks_for_is_refused(session):
    """A run of somebody else's, no run at all, and a run that is its own parent."""
    alone = run(session)
    circle = run(session)
    session.client.set_tag(circle, names.PARENT, circle)
    for run_id in (alone, "", circle):
        with pytest.raises(RunError):
            dataset_of(session, model_of(run_id))


@pytest.fixture
def logged(session):
    """A model as train logs it: its folder, its URI and the run, finished with a record of it."""
    columns = ("PULocationID",)
    run_id = run(session)
    experiment = session.client.get_run(run_id).info.experiment_id
    model = session.client.create_logged_model(experiment, name="model", source_run_id=run_id)
    folder = Path(local_file_uri_to_path(model.artifact_location))
    (folder / "artifacts" / "predictor").mkdir(parents=True)
    (folder / "artifacts" / "predictor" / "predictor.json").write_text(f"{columns}")
    uri = f"models:/{model.model_id}"
    finish(session.client, run_id, TRAIN, output_record(folder, "model", uri))
    return folder, uri, run_id


def test_an_altered_model_is_refused_whether_its_record_is_there_or_not(session, logged):
    """With the tag of the outputs deleted, or the whole record, it was used as it was."""
    folder, uri, run_id = logged
    with pytest.raises(PredictorError):  # it is whole, and no model: its data would be read
        registered(session, uri)
    (folder / "artifacts" / "predictor" / "predictor.json").write_text("altered")
    with pytest.raises(ArtifactError, match="was altered after it was made"):
        registered(session, uri)
    session.client.delete_tag(run_id, names.OUTPUTS)
    with pytest.raises(ModelUriError, match=r"cannot be checked: run .* left no finished outputs"):
        registered(session, uri)


def test_a_version_is_vouched_for_by_the_run_that_logged_its_model(session, logged):
    """Not by the one that a tag of the version names, with a record that was forged to fit."""
    folder, uri, run_id = logged
    session.client.create_registered_model("taxi")
    session.client.create_model_version("taxi", uri, tags={"run_id": run_id})
    (folder / "artifacts" / "predictor" / "predictor.json").write_text("altered")
    forger = run(session)
    finish(session.client, forger, TRAIN, output_record(folder, "version", "models:/taxi/1"))
    session.client.set_model_version_tag("taxi", "1", "run_id", forger)
    with pytest.raises(ArtifactError, match="was altered after it was made"):
        registered(session, "models:/taxi/1")


def test_a_version_that_a_killed_run_left_is_vouched_for_by_who_completed_it(session, logged):
    """A run of the same key, which its tag names; of another key nobody may."""
    folder, uri, run_id = logged
    session.client.create_registered_model("taxi")
    session.client.create_model_version("taxi", uri, tags={"run_id": run_id})
    session.client.delete_tag(run_id, names.OUTPUTS)
    for lineage, refused in ((replace(TRAIN, params={"seed": "1"}).with_key(), True), (TRAIN, False)):
        completing = run(session)
        finish(session.client, completing, lineage, output_record(folder, "version", "models:/taxi/1"))
        session.client.set_model_version_tag("taxi", "1", "run_id", completing)
        with pytest.raises(ModelUriError if refused else PredictorError):  # found whole, and read
            registered(session, "models:/taxi/1")


@pytest.mark.parametrize(
    "uri", ["champion", "models:/trips", "models:/trips@champion", "models:/trips/7", "models:/m-" + "0" * 32,
            "runs:/" + "0" * 32 + "/model", "models:/../x/1"]
)  # fmt: skip
def test_a_uri_of_no_model_is_an_error_that_repeats_it(session, uri):
    """What is no URI of a model, and what names none."""
    with pytest.raises(ModelUriError) as caught:
        registered(session, uri)
    assert repr(uri) in str(caught.value)
    assert "\n Give " in str(caught.value)


def test_predict_asks_for_what_is_missing(monkeypatch):
    """Before any run is opened."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for given in ([], ["--trips", "x.parquet"], ["--out", "x.parquet"]):
        result = CliRunner().invoke(predict, given)
        assert result.exit_code == 2
        assert "Give the trips and the file to write: -P trips= -P out=" in result.output
    assert "are one file" in CliRunner().invoke(predict, ["--trips", "x.parquet", "--out", "x.parquet"]).output
