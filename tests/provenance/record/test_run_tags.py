"""The tags that repeat a record: few, complete for those who search, and read as earlier code wrote them too."""

import json
from dataclasses import replace

import pytest

from provenance.pipeline.session import RunError
from provenance.record import names, run_tags
from provenance.record.lineage import Input, Output
from provenance.record.run_tags import Listed
from provenance.reproduce.recorded_run import _check_tags
from tests.support.records import RECORD, A, B

DATASET = "runs:/" + "1" * 32 + "/dataset"
EARLIER = run_tags._of_earlier_code(RECORD)


def test_a_record_has_few_tags():
    """However many parameters, inputs and outputs there are: MLflow's page shows every tag."""
    months = tuple(Input(f"2023-{n:02}", "sample", A) for n in range(1, 13))
    many = replace(RECORD, inputs=months, params={f"p{n}": "1" for n in range(30)})
    assert len(many.tags()) == len(RECORD.tags()) == 8
    assert len(EARLIER) == 22


@pytest.mark.parametrize("tags", [RECORD.tags(), EARLIER], ids=["now", "earlier"])
def test_inputs_and_outputs_are_read(tags):
    """What gc follows from run to run."""
    assert run_tags.inputs(tags) == {"dataset": Listed(DATASET, A)}
    assert run_tags.outputs(tags) == {"model": Listed("models:/m-1", A)}


@pytest.mark.parametrize("tags", [{names.STEPS: '{"train": "1"}'}, {run_tags.EARLIER_STEP + "train": "1"}])
def test_the_steps_of_a_chain_are_read(tags):
    """A chain's runs can be those of other chains, so their ids are written down."""
    assert run_tags.steps({**RECORD.tags(), **tags}) == {"train": "1"}


def test_as_many_inputs_as_one_likes():
    """MLflow keeps 5,000 characters of a tag, which is less than what 70 months need."""
    months = {f"m{n}": Listed("/a folder/" + "x" * 90, f"{n:064}") for n in range(70)}
    tags = replace(RECORD, inputs=tuple(Input(role, item.uri, item.digest) for role, item in months.items())).tags()
    assert names.INPUTS + ".2" in tags
    assert max(map(len, tags.values())) <= run_tags.LENGTH
    assert run_tags.inputs(tags) == months


def test_a_uri_longer_than_a_tag_is_cut():
    """The list around it stays whole."""
    tags = replace(RECORD, outputs=(Output("model", "x" * 9000, A), Output("plots", "y", B))).tags()
    found = run_tags.outputs(tags)
    assert (len(found["model"].uri), found["model"].digest, found["plots"]) == (4000, A, Listed("y", B))


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"a": 1}', "[" * 100_000, '"x"', "NaN"])
def test_what_others_wrote_is_passed_over(text):
    """Anybody may set a tag."""
    tags = {names.INPUTS: text, names.MADE: text, names.STEPS: text, run_tags.EARLIER_INPUT + "b.uri": "u"}
    assert run_tags.inputs(tags) == {"b": Listed("u", "")}
    assert run_tags.outputs(tags) == run_tags.steps(tags) == {}


def test_a_run_is_found_by_what_it_made(client):
    """By the digest, of now and of earlier code."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    runs = [client.create_run(experiment, tags=tags).info.run_id for tags in (RECORD.tags(), EARLIER)]
    client.create_run(experiment, tags=replace(RECORD, outputs=(Output("model", "models:/m-1", B),)).tags())
    found = [client.search_runs([experiment], condition) for condition in run_tags.made("model", A)]
    assert [[run.info.run_id for run in one] for one in found] == [[runs[0]], [runs[1]]]


@pytest.mark.parametrize("tags", [RECORD.tags(), EARLIER, {**EARLIER, **RECORD.tags()}], ids=["now", "earlier", "both"])
def test_tags_that_agree_pass(tags):
    """Whichever code wrote them, and others' beside them."""
    _check_tags("1" * 32, RECORD, {**tags, "mine": "a note"})


@pytest.mark.parametrize("changed", [{name: "x"} for name in EARLIER] + [{run_tags.EARLIER_PATCH: A}], ids=str)
def test_a_changed_tag_of_earlier_code_is_refused(changed):
    """As earlier code refused it."""
    with pytest.raises(RunError, match="changed after the run"):
        _check_tags("1" * 32, RECORD, {**EARLIER, **changed})


@pytest.mark.parametrize("deleted", [*EARLIER])
def test_a_deleted_tag_is_refused(deleted):
    """Also the one by which earlier code is known: then the tags of now are missing."""
    with pytest.raises(RunError, match="changed after the run"):
        _check_tags("1" * 32, RECORD, {name: text for name, text in EARLIER.items() if name != deleted})


@pytest.mark.parametrize("name", [*RECORD.tags(), names.INPUTS + ".2", run_tags.EARLIER_PARAM + "seed"])
def test_a_changed_tag_is_refused(name):
    """Also a list that the record does not have, and a tag that earlier code would have written."""
    with pytest.raises(RunError, match="changed after the run"):
        _check_tags("1" * 32, RECORD, {**RECORD.tags(), name: json.dumps({"dataset": f"{DATASET} {B}"})})
