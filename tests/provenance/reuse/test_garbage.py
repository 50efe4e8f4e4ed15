"""What gc may delete, and what it must never."""

import json
import time

import pytest

from provenance.record import names, run_tags
from provenance.reuse import garbage
from tests.support.records import reading

DAY = 24 * 3600 * 1000
OURS = "taxi of example.org/taxi"


@pytest.fixture
def old(client):
    """A function that makes a finished run of the project, so many days old."""
    experiment = client.get_experiment_by_name("trips").experiment_id

    def make(days: float = 100, status: str = "FINISHED", **tags: str) -> str:
        then = int(time.time() * 1000 - days * DAY)
        marks = {names.PROJECT: OURS, names.STEP: "train"}
        run_id = client.create_run(experiment, start_time=then, tags={**marks, **tags}).info.run_id
        if status != "RUNNING":
            client.set_terminated(run_id, status, end_time=then)
        return run_id

    return make


def listed(client, keep_days: float = 30) -> set[str]:
    experiments = [client.get_experiment_by_name("trips").experiment_id]
    return {run.info.run_id for run in garbage.find(client, experiments, OURS, keep_days).runs}


def test_old_runs_that_nothing_names_are_listed(client, old):
    """Failed ones, finished ones, links: all of them."""
    ids = {old(), old(status="FAILED"), old(**{names.REUSED: "0" * 32})}
    assert listed(client) == ids


def test_young_and_running_ones_are_kept(client, old):
    """A cache entry younger than keep_days still saves somebody work."""
    old(days=29)
    old(status="RUNNING")
    assert listed(client) == set()
    assert len(listed(client, keep_days=28)) == 1


@pytest.mark.parametrize("earlier", [False, True])
def test_what_a_needed_run_was_made_from_is_kept(client, old, earlier):
    """The dataset of a young model is needed however old it is, and so is the run a link stands for."""
    dataset = old()
    original = old(**reading("dataset", f"runs:/{dataset}/dataset", earlier))
    old(days=1, **{names.REUSED: original})
    assert listed(client) == set()


@pytest.mark.parametrize("tag", [names.STEPS, run_tags.EARLIER_STEP + "train"])
def test_the_steps_of_a_needed_chain_are_kept(client, old, tag):
    """A young chain can stand on steps that other chains ran."""
    train, other = old(), old()
    old(days=1, **{tag: json.dumps({"train": train}) if tag == names.STEPS else train})
    assert listed(client) == {other}


def test_the_trials_of_a_needed_search_are_kept(client, old):
    """Their models are what was registered."""
    search = old()
    trial = old(**{names.PARENT: search, names.TRIAL: "0"})
    assert listed(client) == {search, trial}
    old(days=1, **reading("search", f"runs:/{search}/search"))
    assert listed(client) == set()


def test_runs_of_registered_versions_are_kept(client, old):
    """Any version, with or without an alias, keeps the run it came from and the search behind it."""
    search = old()
    registering = old(**reading("search", f"runs:/{search}/search"))
    other = old()
    client.create_registered_model("trips")
    client.create_model_version("trips", source=f"runs:/{registering}/x", run_id=registering)
    assert listed(client) == {other}


def test_foreign_runs_are_never_listed(client):
    """Somebody else's run in the same experiment is none of ours."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    run = client.create_run(experiment, start_time=0)
    client.set_terminated(run.info.run_id, end_time=0)
    assert listed(client) == set()


def test_deleting_takes_the_artifacts_too(client, old):
    """The point of deleting is the space."""
    run_id = old()
    client.log_text(run_id, "x", "big.txt")
    garbage.delete(client, client.get_run(run_id), OURS)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert listed(client) == set()
    assert not client.list_artifacts(run_id)
