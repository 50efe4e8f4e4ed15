"""From a key to a finished run whose outputs are whole: against a real store with real artifacts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provenance.record import names
from provenance.record.artifacts import ArtifactError, log_folder, open_artifact, open_verified
from provenance.record.difference import Difference, DifferenceKind
from provenance.record.lineage import Input, Lineage
from provenance.record.problem import ProblemKind
from provenance.reuse import cache
from provenance.reuse.cache import Hit, Miss, RunProblem, RunProblemKind
from steps.pipeline import PIPELINE
from tests.support.finished_runs import TRAIN


def wanted(seed: str) -> Lineage:
    """The record that a step starts with; another seed is another key."""
    return replace(TRAIN, params={**TRAIN.params, "seed": seed}).with_key()


def leave(client, seed: str, status: str = "FINISHED", content: str = "trips") -> str:
    """A run of `wanted` with one output of two files, recorded as a step records it."""
    import tempfile

    experiment = client.get_experiment_by_name("trips").experiment_id
    run_id = client.create_run(experiment).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "part").mkdir()
        Path(folder, "part", "rows.txt").write_text(content)
        Path(folder, "manifest.json").write_text("{}")
        output = log_folder(client, run_id, Path(folder), "dataset", last="manifest.json")
    lineage = replace(wanted(seed), outputs=(output,))
    client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    marks = {names.OUTPUTS: lineage.outputs_digest(), names.METRICS: cache.metrics_digest({})}
    for name, value in (lineage.tags() | marks).items():
        client.set_tag(run_id, name, value)
    client.set_terminated(run_id, status)
    return run_id


def find(client, seed: str) -> Hit | Miss:
    return cache.find(client, cache.experiments(client), wanted(seed), PIPELINE)


def test_a_finished_run_with_whole_outputs_is_found(client):
    """The plain case: same key, everything there."""
    run_id = leave(client, "1")
    found = find(client, "1")
    assert isinstance(found, Hit)
    assert found.run_id == run_id
    assert found.outputs["dataset"].uri == f"runs:/{run_id}/dataset"


def test_another_key_is_not_found(client):
    """A key that differs is other work."""
    leave(client, "1")
    assert find(client, "2") == Miss(())


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
def test_a_run_that_did_not_finish_is_not_found(client, status):
    """Only FINISHED runs count, whatever they had already written."""
    leave(client, "1", status)
    assert isinstance(find(client, "1"), Miss)


DAMAGES = {
    "deleted": lambda folder: (folder / "part" / "rows.txt").unlink(),
    "truncated": lambda folder: (folder / "part" / "rows.txt").write_text("tri"),
    "altered": lambda folder: (folder / "part" / "rows.txt").write_text("tripz"),
    "added to": lambda folder: (folder / "part" / "more.txt").write_text("x"),
    "gone": lambda folder: __import__("shutil").rmtree(folder),
    "a link": lambda folder: (
        (folder / "manifest.json").unlink(),
        (folder / "manifest.json").symlink_to("/etc/passwd"),
    ),
}


KINDS = {
    "deleted": (ProblemKind.MISSING, True),
    "truncated": (ProblemKind.TRUNCATED, False),
    "altered": (ProblemKind.ALTERED, False),
    "added to": (ProblemKind.EXTRA, False),
    "gone": (ProblemKind.UNAVAILABLE, True),
    "a link": (ProblemKind.UNREADABLE, False),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_outputs_that_are_not_whole_never_hit(client, damage):
    """Deleted, truncated, altered, extended, missing and linked-away outputs are named and not used."""
    run_id = leave(client, "1")
    with open_artifact(f"runs:/{run_id}/dataset") as folder:
        DAMAGES[damage](folder)
    found = find(client, "1")
    assert isinstance(found, Miss)
    assert found.reasons[0].output == "dataset"
    assert (found.reasons[0].kind, found.reasons[0].gone) == KINDS[damage]


def test_an_older_whole_run_stands_in_for_a_damaged_newer_one(client):
    """Damage to one run does not cost the work of another."""
    older = leave(client, "1")
    newer = leave(client, "1")
    with open_artifact(f"runs:/{newer}/dataset") as folder:
        DAMAGES["altered"](folder)
    assert find(client, "1").run_id == older


def test_an_altered_record_does_not_hit(client):
    """lineage.json and the outputs swapped together are still not what the run's tag stands for."""
    run_id = leave(client, "1")
    with open_artifact(f"runs:/{run_id}/{names.LINEAGE_FILE}") as path:
        record = json.loads(path.read_text())
        record["outputs"][0]["uri"] = "runs:/elsewhere/dataset"
        path.write_text(json.dumps(record))
    found = find(client, "1")
    assert isinstance(found, Miss)
    assert found.reasons == (RunProblem(RunProblemKind.UNREADABLE, run_id, found.reasons[0].detail),)
    assert "altered" in found.reasons[0].detail


def test_changes_name_the_parts_that_differ():
    """`plan` explains a run by them."""
    other = replace(TRAIN, params={**TRAIN.params, "seed": "7"}, code={"steps/train.py": "c2"})
    assert cache.changes(TRAIN, other) == [
        Difference(DifferenceKind.PARAMETER, "seed", "42", "7"),
        Difference(DifferenceKind.CODE, "steps/train.py", TRAIN.code["steps/train.py"], "c2"),
    ]


def test_compiled_code_beside_a_models_own_does_not_count_as_damage(client):
    """Serving a model from the store itself leaves __pycache__ in its code folder; any other extra file counts."""
    import shutil

    run_id = leave(client, "1")
    with open_artifact(f"runs:/{run_id}/dataset") as folder:
        compiled = folder / "code" / "taxi" / "__pycache__"
        compiled.mkdir(parents=True)
        (compiled / "trips.cpython-311.pyc").write_bytes(b"x")
        assert isinstance(find(client, "1"), Hit)
        shutil.move(compiled / "trips.cpython-311.pyc", folder / "code" / "taxi" / "trips.py")
    assert isinstance(find(client, "1"), Miss)


@pytest.mark.parametrize("by", ["listing", "digest"])
def test_what_is_read_is_what_was_recorded(client, by):
    """A check before the step is no check of what the step then reads: the same number of other bytes is refused."""
    output = find(client, "1").outputs["dataset"] if leave(client, "1") else None
    item = output if by == "listing" else Input("dataset", output.uri, output.digest)
    with open_verified(item) as folder:
        path = folder / "part" / "rows.txt"
        path.write_text("tripz")
    with pytest.raises(ArtifactError, match="was altered after it was made"), open_verified(item):
        pass
