"""Whose finished runs are taken: by default, on a server, those of the experiment one works in."""

import click
import pytest

from provenance.pipeline import session as sessions
from provenance.pipeline.graph import parameters_for
from provenance.pipeline.options import TrustType
from provenance.pipeline.session import Session
from provenance.reuse.cache import Hit, Miss
from provenance.reuse.trust import TrustError, is_own_store
from steps.pipeline import PIPELINE
from tests.support.finished_runs import TRAIN as RECORD
from tests.support.finished_runs import left

SERVERS = ["http://127.0.0.1:5000", "https://mlflow.example.org/x", "postgresql://a@b/c", "mysql+pymysql://a@b/c",
           "mssql+pyodbc://a@b/c", "databricks", "databricks://me"]  # fmt: skip


@pytest.mark.parametrize("uri", SERVERS)
def test_a_server_and_a_database_server_are_shared(uri):
    """Others write there."""
    assert not is_own_store(uri)


@pytest.mark.parametrize("uri", ["sqlite:////home/ada/mlflow.db", "file:///home/ada/mlruns", "/home/ada/mlruns", ""])
def test_a_file_and_a_folder_are_ones_own(uri):
    """What makes them somebody else's is not theirs to tell."""
    assert is_own_store(uri)


@pytest.fixture
def shared(client, monkeypatch, tmp_path):
    """A session in experiment `trips` of a store that others write to; `outsiders` is an experiment of theirs."""
    client.create_experiment("outsiders", artifact_location=(tmp_path / "outsiders").as_uri())
    monkeypatch.setattr(sessions.trust, "is_own_store", lambda uri: False)
    run = client.create_run(client.get_experiment_by_name("trips").experiment_id)
    return lambda trust="experiment": Session(PIPELINE, client, run, quiet=True, trust=trust)


def test_a_well_formed_run_of_an_outsider_is_not_taken(shared, client):
    """A forged chain in an experiment of his own, with a dataset of his, replaced the champion."""
    run_id = left(client, experiment="outsiders")
    assert shared().find(RECORD) == Miss()
    for trust in ("all", "outsiders", "experiment,outsiders"):
        assert shared(trust).find(RECORD).run_id == run_id


def test_those_who_work_in_one_experiment_share(shared, client):
    """Whatever else is trusted."""
    run_id = left(client)
    for trust in ("experiment", "all", "outsiders"):
        assert shared(trust).find(RECORD).run_id == run_id


def test_on_ones_own_store_every_experiment_is_ones_own(client, tmp_path):
    """Nobody else has made them."""
    client.create_experiment("more", artifact_location=(tmp_path / "more").as_uri())
    left(client, experiment="more")
    run = client.create_run(client.get_experiment_by_name("trips").experiment_id)
    assert isinstance(Session(PIPELINE, client, run).find(RECORD), Hit)


def test_trials_are_believed_without_their_model_in_ones_own_experiment_alone(shared, client):
    """Not in one that is trusted by name: see TrialRuns.known."""
    own = [client.get_experiment_by_name("trips").experiment_id]
    assert shared("outsiders").own_experiments == own
    assert len(shared("outsiders").trusted_experiments) == 2


def test_an_experiment_that_is_not_there_is_one_clear_line(shared):
    """With those that are."""
    with pytest.raises(TrustError) as caught:
        _ = shared("outsider").trusted_experiments
    assert str(caught.value) == (
        "trust=outsider: there is no experiment 'outsider' that you may read (there are: Default, outsiders, trips)\n"
        " Give experiment, all, or names of experiments."
    )


def test_signed_runs_lie_anywhere_and_only_those_of_ones_own_experiment_are_waited_for(shared, client):
    """Of a run that is still going nobody knows who will sign it: an outsider's could last for ever."""
    own = [client.get_experiment_by_name("trips").experiment_id]
    session = shared("signed")
    assert len(session.trusted_experiments) == 3 and session.awaited_experiments == own
    assert shared("all").awaited_experiments == shared("all").trusted_experiments


def test_without_a_run_it_is_the_experiment_that_a_run_would_be_made_in(client, monkeypatch):
    """`plan` may be called without `mlflow run`."""
    monkeypatch.setattr(sessions.trust, "is_own_store", lambda uri: False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.get_experiment_by_name("trips").experiment_id)
    run_id = left(client)
    assert Session(PIPELINE, client, None).find(RECORD).run_id == run_id


@pytest.mark.parametrize("step", PIPELINE.steps)
def test_every_step_of_a_chain_trusts_whom_the_chain_trusts(step):
    """Handed on to each child, and recorded, but no part of the key."""
    params = {"trust": "a,b", "reuse": True, "quiet": False}
    assert parameters_for(PIPELINE, step, params)["trust"] == "a,b"
    assert "trust" not in step.params


@pytest.mark.parametrize("value", ["", ",", "a,,b", "all,a", "signed,a"])
def test_trust_that_says_nothing_or_two_things_is_refused(value):
    """Before the first step runs."""
    with pytest.raises(click.BadParameter):
        TrustType().convert(value, None, None)
