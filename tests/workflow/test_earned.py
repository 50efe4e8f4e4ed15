"""A hit is earned: what a tag says of a run is nothing, and what records and artifacts say of each other must agree."""

from dataclasses import replace

import pytest

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.record.difference import Difference, DifferenceKind
from provenance.record.lineage import Input, LineageError
from provenance.reuse import cache
from provenance.reuse.cache import Hit, Miss, RunProblem, RunProblemKind
from steps.models.candidates import Candidates
from steps.pipeline import PIPELINE
from tests.support.finished_runs import SEARCH, TRAIN, begin, finish, folder_of, left, searched
from tests.support.records import B


def find(client, wanted=TRAIN) -> Hit | Miss:
    return cache.find(client, cache.experiments(client), wanted, PIPELINE)


def of_seed(seed: str):
    return replace(TRAIN, params={**TRAIN.params, "seed": seed}).with_key()


def test_a_tag_does_not_make_the_run_of_one_seed_the_answer_for_another(client):
    """One `set_tag` did; what the record says it was made of decides, and is said."""
    run_id = left(client, of_seed("43"))
    client.set_tag(run_id, names.KEY, TRAIN.key)
    [reason] = find(client).reasons
    assert reason == RunProblem(
        RunProblemKind.OTHER_CONTENT, run_id, differences=(Difference(DifferenceKind.PARAMETER, "seed", "43", "42"),)
    )
    words = "has the tag of this key, but its record has other content (seed 43 -> 42)"
    assert str(reason) == f"run {run_id} {words}"


def test_a_record_with_the_wanted_key_written_into_it_is_no_hit(client):
    """The key is computed anew, not read."""
    left(client, replace(of_seed("43"), key=TRAIN.key))
    assert isinstance(find(client), Miss)


def test_a_forged_run_does_not_hide_a_sound_one(client):
    """Refused, and the search goes on to the next."""
    sound = left(client)
    forged = left(client, of_seed("43"))
    client.set_tag(forged, names.KEY, TRAIN.key)
    assert find(client).run_id == sound


def test_a_run_whose_metrics_were_altered_is_refused(client):
    """They are shown as those of whoever reuses it. One of the moment may change."""
    run_id = left(client)
    client.log_metric(run_id, "gate/latency_ms", 1.0)
    assert find(client).run_id == run_id
    client.log_metric(run_id, "val_rmse", 0.5)
    [reason] = find(client).reasons
    assert reason == RunProblem(RunProblemKind.METRICS_ALTERED, run_id)
    assert str(reason) == f"the metrics of run {run_id} were altered after the run"


@pytest.mark.parametrize("gone", ["tag", "record"])
def test_a_run_without_its_tag_or_record_is_refused(client, gone):
    """Whoever takes it away could have changed the outputs as well: no way round the check."""
    run_id = left(client)
    if gone == "tag":
        client.delete_tag(run_id, names.OUTPUTS)
        with pytest.raises(LineageError, match="was altered after the run"):
            cache.read_lineage(client.get_run(run_id))
    else:
        with open_artifact(f"runs:/{run_id}/{names.LINEAGE_FILE}") as path:
            path.unlink()
    assert isinstance(find(client), Miss)
    with pytest.raises(ValueError):
        Session(PIPELINE, client, None).hit(run_id)


def test_a_link_to_other_outputs_than_the_record_has_is_refused(client):
    """`lineage.reused` is a tag: it cannot lead the reader of one run to what another left."""
    made, other = left(client), left(client, of_seed("43"))
    link = begin(client, **{names.REUSED: made})
    lineage = cache.read(made)
    client.log_text(link, lineage.to_json(), names.LINEAGE_FILE)
    assert Session(PIPELINE, client, None).hit(link).run_id == made
    client.set_tag(link, names.REUSED, other)
    with pytest.raises(RunError, match="One of them was changed after the run"):
        Session(PIPELINE, client, None).hit(link)


def test_a_search_that_agrees_with_itself_is_found(client):
    """Else each refusal below could be for another reason."""
    run_id = searched(client)
    assert find(client, SEARCH).run_id == run_id


SEARCHES = {
    "another dataset": ({"dataset": B}, "its search names dataset bbbbbbbbbbbb"),
    "another model": ({"candidates": [{"trial": 3, "model_digest": B}]}, "the model of trial 3 is not the one"),
    "a model that is not there": ({"candidates": [{"trial": 4, "model_digest": B}]}, "the model of trial 4 is not"),
    "no candidates": ({"candidates": []}, "cannot be read"),
    "nonsense": ({"candidates": [{"trial": "../3", "model_digest": 1}]}, "cannot be read"),
}


@pytest.mark.parametrize("forged", SEARCHES)
def test_a_search_that_does_not_agree_with_its_record_is_no_hit(client, forged):
    """Dataset in the record and in candidates.json, models in the record and there."""
    changes, words = SEARCHES[forged]
    run_id = searched(client, **changes)
    assert words in str(find(client, SEARCH).reasons[0])
    with pytest.raises(ValueError, match=words):
        Candidates.read(Session(PIPELINE, client, None), f"runs:/{run_id}/search")


def dataset_run(client, digest_of: str = "trips") -> tuple[str, str]:
    """A preprocess run; its id and its dataset's digest."""
    run_id = begin(client)
    output = folder_of(client, run_id, "dataset", {"rows": digest_of})
    finish(client, run_id, replace(TRAIN, step="preprocess", inputs=()).with_key(), output)
    return run_id, output.digest


def on(client, uri: str, digest: str) -> str:
    """A search on the dataset at `uri`; where its search lies."""
    lineage = replace(SEARCH, inputs=(Input("dataset", uri, digest),)).with_key()
    return f"runs:/{searched(client, lineage)}/search"


def test_register_takes_the_dataset_that_a_preprocess_run_left(client):
    """Whose digest the search recorded."""
    run_id, digest = dataset_run(client)
    found = Candidates.read(Session(PIPELINE, client, None), on(client, f"runs:/{run_id}/dataset", digest))
    assert found.dataset == Input("dataset", f"runs:/{run_id}/dataset", digest)


@pytest.mark.parametrize("uri", ["http://evil/dataset", "/home/ada/private", "s3://bucket/dataset", "models:/x/1"])
def test_register_follows_a_search_to_no_other_place(client, uri):
    """A colleague's record sent the reader's password to his own server, and had a private folder read."""
    with pytest.raises(RunError, match=f"{uri}"):
        Candidates.read(Session(PIPELINE, client, None), on(client, uri, B))


def test_register_refuses_a_dataset_other_than_the_search_had(client):
    """Also one whose run lost its record."""
    run_id, digest = dataset_run(client)
    with pytest.raises(RunError, match="One of them was altered"):
        Candidates.read(Session(PIPELINE, client, None), on(client, f"runs:/{run_id}/dataset", B))
    client.delete_tag(run_id, names.OUTPUTS)
    with pytest.raises(RunError, match="left no finished outputs"):
        Candidates.read(Session(PIPELINE, client, None), on(client, f"runs:/{run_id}/dataset", digest))


def test_the_version_of_another_runs_model_is_no_hit(client):
    """Whose version it is, the store says: the model was logged by the run that registered it."""
    mine, other = begin(client), begin(client)
    experiment = client.get_run(mine).info.experiment_id
    logged = client.create_logged_model(experiment, name="model", source_run_id=other)
    client.create_registered_model("taxi")
    client.create_model_version("taxi", f"models:/{logged.model_id}")
    wanted = replace(TRAIN, step="register").with_key()
    output = replace(folder_of(client, mine, "version", {"x": "y"}), uri=f"runs:/{mine}/version")
    finish(client, mine, wanted, output)
    [reason] = find(client, wanted).reasons
    assert reason == RunProblem(RunProblemKind.INCONSISTENT, mine, f"run {mine}: its record has no model version")
    from provenance.reuse.consistency import inconsistent

    lineage = replace(wanted, outputs=(replace(output, uri="models:/taxi/1"),))
    assert inconsistent(client, mine, lineage, PIPELINE) == [
        f"run {mine}: models:/taxi/1 was not made from the model of this run"
    ]
    assert inconsistent(client, other, lineage, PIPELINE) == []
