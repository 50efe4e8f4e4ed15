"""A model by its URI, and the dataset behind it, by the runs that recorded it."""

import pytest
from click.testing import CliRunner

from steps.predict import predict
from tracking import names
from tracking.lineage import Input
from tracking.registered import ModelUriError, Registered, dataset_of, registered
from tracking.session import RunError, Session

DATASET = Input("dataset", "runs:/" + "1" * 32 + "/dataset", "a" * 64)


@pytest.fixture
def session(client) -> Session:
    return Session(client, None, quiet=True)


def run(session: Session, **tags: str) -> str:
    experiment = session.client.get_experiment_by_name("trips").experiment_id
    return session.client.create_run(experiment, tags=tags).info.run_id


def model_of(run_id: str) -> Registered:
    return Registered("models:/trips/1", "m-1", "b" * 64, run_id, None)


def test_the_dataset_is_that_of_the_run_or_of_the_search_behind_it(session):
    """A train run says it itself, a trial by its search, a register run by the search it chose from."""
    said = {names.INPUT + "dataset": DATASET.digest, names.INPUT + "dataset.uri": DATASET.uri}
    main = run(session)
    search = run(session, **said, **{names.PARENT: main})
    trial = run(session, **{names.PARENT: search})
    register = run(session, **{names.PARENT: main, names.INPUT + "search.uri": f"runs:/{search}/search"})
    for run_id in (search, trial, register):
        assert dataset_of(session, model_of(run_id)) == DATASET


def test_a_model_that_no_run_speaks_for_is_refused(session):
    """A run of somebody else's, no run at all, and a record that leads in a circle."""
    alone = run(session)
    circle = run(session)
    session.client.set_tag(circle, names.PARENT, circle)
    for run_id in (alone, "", circle):
        with pytest.raises(RunError):
            dataset_of(session, model_of(run_id))


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
