"""Reproduce, compare and bundle through the real `mlflow run`, between two checkouts and one store."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from provenance.record import names, run_tags
from taxi.city.sample import write_month
from taxi.months.month import file_name
from tests.support import repository
from tests.support.project import Result, copied, workplace

SAMPLE = {"source": "sample:3000", "quiet": "true"}


def checkout(folder: Path) -> Path:
    """This project as it stands, as one commit of a repository of its own."""
    repository.commit(copied(folder))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store):
    """A store, a checkout `theirs` in which a train run was made, and a clone `mine` to judge it from."""
    base = tmp_path_factory.mktemp("reproduce")
    theirs = checkout(base / "theirs")
    mine = base / "mine"
    subprocess.run(["git", "clone", "-q", str(theirs), str(mine)], check=True)
    here = workplace(base / "work", migrated_store)
    made = here.run("train", uri=theirs, model="linear", **SAMPLE)
    assert made.exit_code == 0, made.stderr
    steps = here.client.search_runs(["0"], f"tags.`{names.OUTPUTS}` != ''")
    return SimpleNamespace(
        theirs=theirs, mine=mine, here=here, train=made.run_id,
        runs={run.data.tags[names.STEP]: run for run in steps},
    )  # fmt: skip


def reproduce(place, run_id: str, **params) -> Result:
    return place.here.run("reproduce", uri=place.mine, run_id=run_id, quiet="true", **params)


def verdict(place, result: Result) -> dict:
    path = place.here.client.download_artifacts(result.run_id, names.VERDICT_FILE)
    return json.loads(Path(path).read_text())


def test_a_colleagues_run_is_identical_from_the_raw_months_on(place):
    """Another checkout re-executes the recorded commit; nothing of it can be reused, nothing is registered."""
    result = reproduce(place, place.train, depth="all")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-2] == "grade identical"
    client, run = place.here.client, place.here.client.get_run(result.run_id)
    assert run.data.tags[names.REPRODUCTION_OF] == place.train
    original = client.get_run(place.train).data.tags
    assert original[names.REPRODUCED + result.run_id[:8]] == f"identical by run {result.run_id}"
    repeated = client.search_runs(
        ["0"], f"tags.`{names.PARENT}` = '{result.run_id}'", order_by=["attributes.start_time"]
    )
    assert [child.data.tags[names.STEP] for child in repeated] == ["preprocess", "train"]
    assert not any(names.OUTPUTS in child.data.tags for child in repeated)
    assert [step["grade"] for step in verdict(place, result)["steps"]] == ["identical", "identical"]
    assert client.search_registered_models() == []


def test_an_altered_dataset_is_found_and_blamed(place):
    """One changed file of the input: training on it again would say nothing about the run."""
    folder = Path(place.runs["preprocess"].info.artifact_uri.removeprefix("file://"), "dataset")
    target = next((folder / "train").glob("*.parquet"))
    before = target.read_bytes()
    target.write_bytes(before[:100] + bytes([before[100] ^ 1]) + before[101:])
    try:
        result = reproduce(place, place.train)
    finally:
        target.write_bytes(before)
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if line.startswith("grade "))
    assert line.startswith("grade diverged  first at train: data: input dataset was changed after it was made")


@pytest.mark.parametrize(
    ("where", "words"),
    [("tag", "One of them was changed after the run"), ("record and tag", "is an option or a command")],
)
def test_a_hostile_server_is_refused(place, where, words):
    """The recorded remote is a command: one clear error, nothing executed."""
    evil = f"ext::sh -c touch% {place.here.folder}/pwned"
    client, artifacts = place.here.client, place.here.client.get_run(place.train).info.artifact_uri
    path = Path(artifacts.removeprefix("file://"), names.LINEAGE_FILE)
    before = path.read_text()
    client.set_tag(place.train, run_tags.EARLIER_REMOTE, evil)
    if where != "tag":
        record = json.loads(before)
        record["source"]["remote"] = evil
        path.write_text(json.dumps(record))
    try:
        result = reproduce(place, place.train)
    finally:
        path.write_text(before)
        client.delete_tag(place.train, run_tags.EARLIER_REMOTE)
    assert result.exit_code == 1
    assert words in result.errors()
    assert "Traceback" not in result.errors()
    assert not (place.here.folder / "pwned").exists()


@pytest.mark.slow
def test_a_bundle_reproduces_in_an_empty_store(place, tmp_path, migrated_store):
    """Without the server, from the file alone; `register` too, beside the registry."""
    made = place.here.run("register", uri=place.theirs, model="linear", max_evals=2, **SAMPLE)
    assert made.exit_code == 0, made.stderr
    versions = place.here.client.search_model_versions()
    written = place.here.run("bundle", uri=place.theirs, run_id=made.run_id, out="b.zip")
    assert written.exit_code == 0, written.stderr
    elsewhere = workplace(tmp_path / "elsewhere", migrated_store)
    shutil.move(place.here.folder / "b.zip", elsewhere.folder / "b.zip")
    result = elsewhere.run("reproduce", uri=place.mine, bundle="b.zip", workers=1, quiet="true")
    assert "grade identical" in result.stdout, result.stderr
    assert elsewhere.client.search_registered_models() == []
    again = reproduce(place, made.run_id)
    assert "grade identical" in again.stdout, again.stderr
    assert place.here.client.search_model_versions() == versions


def test_a_bundle_with_its_data_reproduces_after_the_raw_months_are_gone(place, tmp_path, migrated_store):
    """From the file alone: neither the store in which the run was made nor the folder that it read is there."""
    months = tmp_path / "months"
    months.mkdir()
    for name in ("2023-01", "2023-02", "2023-03"):
        write_month(months / file_name("green", name), "green", name, 500)
    there = workplace(tmp_path / "there", migrated_store)
    made = there.run("preprocess", uri=place.theirs, source=months, quiet="true")
    assert made.exit_code == 0, made.stderr
    bundle = tmp_path / "whole.zip"
    written = there.step("bundle", place.theirs, run_id=made.run_id, out=bundle, data="true", quiet="true")
    assert written.exit_code == 0, written.stderr
    assert "raw months: green_tripdata_2023-01.parquet, green_tripdata_2023-02.parquet, green" in written.stdout
    shutil.rmtree(months)
    shutil.rmtree(there.folder)
    here = workplace(tmp_path / "here", migrated_store)
    result = here.step("reproduce", place.mine, bundle=bundle, quiet="true")
    assert result.exit_code == 0, result.stderr
    assert "grade identical" in result.stdout.splitlines()


@pytest.mark.slow
def test_compare_proves_which_difference_moves_the_metric(place):
    """Two seeds: named first, and all of the difference."""
    ids = [
        place.here.run("train", uri=place.theirs, params='{"n_estimators": 20}', seed=seed, **SAMPLE).run_id
        for seed in (1, 2)
    ]
    result = place.here.run("compare", uri=place.mine, a=ids[0], b=ids[1], prove="true", quiet="true")
    assert result.exit_code == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith(("1. ", "a with "))]
    assert lines[0] == "1. parameters: seed 1 -> 2 (train)"
    assert lines[1].endswith("unchanged")
    assert lines[2].startswith("a with seed 1 -> 2: ") and lines[2].endswith("(100% of the difference)")
