"""The whole project through the real `mlflow run`, from a folder and from a git URL."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from provenance.record import names, run_tags
from steps import names as trip_names
from tests.support import repository
from tests.support.processes import background, free_port, git_daemon, wait_for_answer
from tests.support.project import LAUNCHER, ROOT, SMALL, Result, Workplace, copied, environment, workplace
from tests.support.records import recorded

FEW = 15  # tags of a run, without MLflow's own
NAME = "nyc-taxi-duration-sample"


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store) -> Workplace:
    """A folder in which `main` has run once on a small sample."""
    return workplace(tmp_path_factory.mktemp("place"), migrated_store)


@pytest.fixture(scope="module")
def first(place) -> Result:
    """The first run of `main` there."""
    return place.run(**SMALL)


def test_main_registers_a_champion_and_says_so(place, first):
    """The command a newcomer runs ends with the version, its test RMSE against the floor and where to look."""
    assert first.exit_code == 0, first.stderr
    assert f"{NAME} version 1 (candidate, champion)  test_rmse " in first.stdout
    assert "floor " in first.stdout
    assert f"look: mlflow ui --backend-store-uri {place.store}, then\n" in first.stdout
    assert f"\n  http://127.0.0.1:5000/#/experiments/0/runs/{first.run_id}?workflowType=" in first.stdout
    assert f"\n  http://127.0.0.1:5000/#/models/{NAME}/versions/1\n" in first.stdout
    assert re.search(r"^test 2023-03: kept 2,\d\d\d of 3,000 trips \(\d+ shorter than 1 minute, ", first.stderr, re.M)
    assert place.client.get_model_version_by_alias(NAME, "champion").version == 1


def test_the_steps_are_child_runs_named_after_themselves(place, first):
    """The chain reads as nested runs in the UI."""
    query = f"tags.`{names.PARENT}` = '{first.run_id}'"
    steps = place.client.search_runs(["0"], query, order_by=["attributes.start_time ASC"])
    assert [run.info.run_name for run in steps] == ["preprocess", "train", "hpo", "register"]
    assert {run.info.status for run in steps} == {"FINISHED"}
    trials = place.client.search_runs(["0"], f"tags.`{names.PARENT}` = '{steps[2].info.run_id}'")
    assert sorted(int(run.data.tags[names.TRIAL]) for run in trials) == [0, 1, 2, 3]


def test_the_baseline_and_the_search_run_side_by_side(place, first):
    """Neither reads what the other makes, so the chain need not wait for one to begin the other."""
    query = f"tags.`{names.PARENT}` = '{first.run_id}'"
    runs = {run.info.run_name: run.info for run in place.client.search_runs(["0"], query)}
    assert runs["train"].start_time < runs["hpo"].end_time and runs["hpo"].start_time < runs["train"].end_time
    assert runs["preprocess"].end_time <= min(runs["train"].start_time, runs["hpo"].start_time)
    assert max(runs["train"].end_time, runs["hpo"].end_time) <= runs["register"].start_time
    assert "main: step 2 of 4 (train)\nmain: step 3 of 4 (hpo)\n" in first.stderr


def test_a_run_has_few_tags(place, first):
    """MLflow shows them all, above the metrics. What a finished run needs no longer is gone."""
    runs = place.client.search_runs(["0"], f"tags.{names.CHAIN} = '{first.run_id}'")
    for run in runs:
        shown = {name for name in run.data.tags if not name.startswith("mlflow.")}
        assert len(shown) <= FEW, sorted(shown)
        assert not shown & {*names.ALIVE, names.GATE, names.GATE_TICKET}
    assert {run.data.tags[names.STEP] for run in runs} == {"main", "preprocess", "train", "hpo", "register"}


def test_a_chain_shows_its_datasets_too(place, first):
    """MLflow's list of runs has a column for them, which is no blank for the run that one looks for."""
    inputs = place.client.get_run(first.run_id).inputs.dataset_inputs
    every = ["green test 2023-03", "green train 2023-01", "green val 2023-02"]
    assert sorted(item.dataset.name for item in inputs) == every


def test_a_logged_model_shows_its_own_metrics_once(place, first):
    """Not those of the first trial, which the search logged at the same step."""
    models = place.client.search_logged_models(["0"])
    trials = [f"xgboost-green-2023-01-trial-{n}" for n in range(4)]
    assert sorted(model.name for model in models if "trial" in model.name) == trials
    for model in models:
        found = sorted(metric.key for metric in model.metrics)
        assert found == sorted(set(found))
        runs = [metric.run_id for metric in model.metrics if metric.key == "val_rmse"]
        assert runs == ([model.source_run_id] if "refit" not in model.tags else [])
    hpo = place.client.search_runs(["0"], f"tags.`{names.STEP}` = 'hpo'")[-1]
    assert len(hpo.outputs.model_outputs) == 4


def test_a_second_main_runs_no_step_again(place, first):
    """Nothing changed: every step is reused and says by which run."""
    second = place.run(**SMALL)
    assert second.exit_code == 0, second.stderr
    for number, step in enumerate(("preprocess", "train", "hpo", "register"), 1):
        assert f"main: step {number} of 4 ({step})\n{step}: reused run " in second.stderr
    assert place.client.search_runs(["0"], f"tags.`{names.PARENT}` = '{second.run_id}'") == []
    assert [line for line in second.stdout.splitlines() if "floor" in line or "champion)  test_rmse" in line] == [
        line for line in first.stdout.splitlines() if "floor" in line or "champion)  test_rmse" in line
    ]


def test_a_step_alone_links_its_run_to_the_one_it_reuses(place, first):
    """`-e hpo` alone finds the dataset and the search that are there, and copies no data."""
    result = place.run("hpo", **SMALL)
    assert result.exit_code == 0, result.stderr
    run = place.client.get_run(result.run_id)
    reused = place.client.get_run(run.data.tags[names.REUSED])
    assert reused.data.tags[names.STEP] == "hpo"
    assert run.data.metrics["val_rmse"] == reused.data.metrics["val_rmse"]
    digests = [{item.dataset.digest for item in each.inputs.dataset_inputs} for each in (run, reused)]
    assert digests[0] == digests[1] and len(digests[0]) == 2
    assert [file.path for file in place.client.list_artifacts(result.run_id)] == [names.LINEAGE_FILE]


def test_the_registered_model_predicts_outside_the_project(place, first, tmp_path):
    """A fresh process that knows only the store loads the champion and predicts from raw trips."""
    script = (
        "import mlflow, pandas as pd\n"
        f"mlflow.set_tracking_uri('{place.store}')\n"
        f"model = mlflow.pyfunc.load_model('models:/{NAME}@champion')\n"
        "trips = pd.DataFrame({'PULocationID': [74, 263], 'DOLocationID': [75, 1], 'trip_distance': [1.2, 9.0],\n"
        "    'lpep_pickup_datetime': pd.to_datetime(['2023-04-01 08:00:00', '2023-04-02 23:59:59'])})\n"
        "print(*model.predict(trips)['duration'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    minutes = [float(word) for word in done.stdout.split()]
    assert len(minutes) == 2
    assert all(0 < value < 90 for value in minutes)


@pytest.fixture(scope="module")
def served(place, first) -> Iterator[str]:
    """The URL at which `mlflow models serve` answers for the champion."""
    port, log = free_port(), place.folder.parent / "serve.log"
    command = [str(LAUNCHER), "models", "serve", "-m", f"models:/{NAME}@champion", "-p", str(port), "-w", "1",
               "--env-manager", "local"]  # fmt: skip
    variables, url = environment({"MLFLOW_TRACKING_URI": place.store}), f"http://127.0.0.1:{port}"
    with background(command, log, variables, place.folder) as server:
        wait_for_answer(f"{url}/ping", log, server)
        yield f"{url}/invocations"


TRIP = {"PULocationID": 226, "DOLocationID": 260, "trip_distance": 1.2, "lpep_pickup_datetime": "2023-04-01T08:00:00"}


def test_the_champion_is_served(served):
    """`mlflow models serve` answers /invocations on raw trips; of one with unknown zones or miles it says so."""
    import requests

    absurd = {"PULocationID": -75, "trip_distance": -5}
    note = "PULocationID is no zone (1 to 265); trip_distance is not above 0 and at most 100 miles"
    for trip, said in ((TRIP, None), ({**TRIP, **absurd}, note)):
        answer = requests.post(served, json={"dataframe_records": [trip]}, timeout=60)
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"][0]
        assert 0 < found["duration_low"] <= found["duration"] <= found["duration_high"] < 120
        assert found["note"] == said


BAD = {
    "columns that are missing": ({"trip_distance": ..., "DOLocationID": ...}, "['DOLocationID', 'trip_distance']"),
    "text for a zone": ({"PULocationID": "downtown"}, "convert column PULocationID to type 'int64'"),
    "no zone": ({"DOLocationID": None}, "convert column DOLocationID to type 'int64'"),
    "text for a distance": ({"trip_distance": "far"}, "convert column trip_distance to type 'float64'"),
    "no time that can be read": ({"lpep_pickup_datetime": "yesterday"}, "convert column lpep_pickup_datetime"),
    "no time": ({"lpep_pickup_datetime": None}, "The pickup time is column lpep_pickup_datetime"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_request_is_a_400_that_names_the_column(served, mistake):
    """Not a 500, and no traceback."""
    import requests

    changes, expected = BAD[mistake]
    trip = {name: value for name, value in {**TRIP, **changes}.items() if value is not ...}
    answer = requests.post(served, json={"dataframe_records": [trip]}, timeout=60)
    assert answer.status_code == 400
    assert expected in answer.json()["message"]
    assert "stack_trace" not in answer.json()


def test_batch_predictions_are_those_of_the_served_model(place, served, tmp_path):
    """A month as published, a bad row in it: each row in its place, to the last bit, and the run knows both files."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import requests

    from provenance.record.digest import sha256_file
    from taxi.city.sample import write_month

    trips, out = tmp_path / "trips.parquet", place.folder / "out.parquet"
    write_month(trips, "green", "2023-04", 500)
    table = pq.read_table(trips)
    pickup = [None if row == 7 else moment for row, moment in enumerate(table["lpep_pickup_datetime"].to_pylist())]
    at = table.schema.get_field_index("lpep_pickup_datetime")
    table = table.set_column(at, "lpep_pickup_datetime", pa.array(pickup, pa.timestamp("us")))
    ends = [75 if row == 3 else zone for row, zone in enumerate(table["DOLocationID"].to_pylist())]  # nowhere here
    at = table.schema.get_field_index("DOLocationID")
    pq.write_table(table.set_column(at, "DOLocationID", pa.array(ends, pa.int64())), trips)
    result = place.run("predict", trips=trips, out="out.parquet")  # relative to where the user stands
    assert result.exit_code == 0, result.stderr
    assert "predicted 499 of 500 trips\nno prediction for 1: no pickup time\n" in result.stdout
    found = pq.read_table(out)
    assert found.column_names == ["duration", "duration_low", "duration_high", "reason", "note"]
    assert found["reason"].to_pylist() == [None] * 7 + ["no pickup time"] + [None] * 492

    good = [row for row in pq.read_table(trips, columns=list(TRIP)).to_pylist() if row["lpep_pickup_datetime"]]
    records = [{**row, "lpep_pickup_datetime": row["lpep_pickup_datetime"].isoformat()} for row in good]
    answer = requests.post(served, json={"dataframe_records": records}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == found.filter(found["reason"].is_null()).drop_columns(["reason"]).to_pylist()

    run = place.client.get_run(result.run_id)
    noted = [note for note in found["note"].to_pylist() if note]
    assert "\n1 predicted although DOLocationID was not in training\n" in result.stdout
    assert run.data.metrics == {"rows": 500, "rows_predicted": 499, "rows_without": 1, "rows_with_note": len(noted)}
    assert run_tags.inputs(run.data.tags)["trips"].digest == sha256_file(trips)
    assert run_tags.inputs(run.data.tags)["model"].uri == f"models:/{NAME}/1"
    assert run_tags.outputs(run.data.tags)["predictions"].uri == str(out)


def test_drift_of_the_champion_finds_its_own_months_unmoved(place, first):
    """The test month as a new one: nothing changed, and the RMSE is the registered one."""
    result = place.run("drift", source=SMALL["source"], months="2023-03", fail_above=0.1)
    assert result.exit_code == 0, result.stderr
    assert "changed by +0.0 %" in result.stdout
    run = place.client.get_run(result.run_id)
    champion = place.client.get_model_version_by_alias(NAME, "champion")
    registered = place.client.get_logged_model(champion.source.removeprefix("models:/"))
    judged = {metric.key: metric.value for metric in registered.metrics}["registered_test_rmse"]
    assert run.data.metrics["new_rmse"] == run.data.metrics["registered_test_rmse"] == pytest.approx(judged, rel=1e-12)
    files = {file.path for file in place.client.list_artifacts(result.run_id)}
    assert {names.REPORT_FILE, trip_names.DRIFT_FILE, names.PLOTS, names.LINEAGE_FILE} <= files
    assert [item.dataset.name for item in run.inputs.dataset_inputs][-1] == "green 2023-03"
    assert run_tags.inputs(run.data.tags)["model"].uri == f"models:/{NAME}/1"
    assert run_tags.inputs(run.data.tags)["dataset"].uri.endswith("/dataset")


def test_drift_above_the_limit_is_a_failed_run(place, first, tmp_path):
    """A month in which every trip takes half as long again: exit 1, after the report."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from taxi.city.sample import write_month

    path = tmp_path / "green_tripdata_2023-04.parquet"
    write_month(path, "green", "2023-04", 3000)
    table = pq.read_table(path)
    pickup, dropoff = table["lpep_pickup_datetime"], table["lpep_dropoff_datetime"]
    half = pc.divide(pc.subtract(dropoff, pickup).cast("int64"), 2).cast("duration[us]")
    place_of = table.schema.get_field_index("lpep_dropoff_datetime")
    pq.write_table(table.set_column(place_of, "lpep_dropoff_datetime", pc.add(dropoff, half)), path)
    result = place.run("drift", source=tmp_path, months="2023-04", fail_above=5)
    assert result.exit_code == 1
    assert "more than the 5 % allowed" in result.stderr
    assert "inputs moved: duration (PSI " in result.stdout
    run = place.client.get_run(result.stdout.strip().splitlines()[-1].removeprefix("run "))
    assert run.info.status == "FAILED"
    assert run.data.metrics["new_bias"] < -2


def test_plan_explains_and_leaves_no_run(place, first):
    """`plan` names what changed against the nearest run, and adds nothing to the store."""
    before = len(place.client.search_runs(["0"], max_results=1000))
    result = place.run("plan", **{**SMALL, "max_evals": "5"})
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("preprocess  reuse run ")
    assert lines[1].startswith("train       reuse run ")
    assert lines[2:4] == ["hpo         run", "            - max_evals 4 -> 5"]
    deadline = time.monotonic() + 60  # the launcher's own run goes as soon as the launcher is done with it
    while len(place.client.search_runs(["0"], max_results=1000)) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(place.client.search_runs(["0"], max_results=1000)) == before


WRONG = {
    "trips that are none": ("predict", {"trips": "{empty}", "out": "x.parquet"}, "cannot be read"),
    "a missing month": ("preprocess", {"source": "{empty}"}, "green_tripdata_2023-01.parquet"),
    "overlapping months": ("preprocess", {"val_months": "2023-01"}, "2023-01 is both a train and a val month"),
    "a misspelt value": ("train", {"model": "xgbost"}, "'xgbost' is not one of 'linear', 'random_forest', 'xgboost'"),
    "a number that is none": ("hpo", {"max_evals": "abc"}, "'abc' is not a valid integer"),
    "an unknown parameter": ("train", {"modle": "linear"}, "-P modle is no parameter of train; it has: dataset"),
    "a dataset that is none": ("train", {"dataset": "{empty}"}, "is not a dataset"),
    "a search that is none": (
        "register",
        {"search": "0" * 32},
        "Run with id=00000000000000000000000000000000 not found",
    ),
    "nothing to go back to": ("rollback", {}, "version 1 is the first champion, there is none to go back to"),
    "hostile text": ("preprocess", {"source": "$(touch pwned) 'a b'"}, "$(touch pwned) 'a b'"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_ends_in_one_clear_error(place, first, mistake, tmp_path):
    """What, where and what next in a few lines, no traceback, a failed run, an untouched registry."""
    entry_point, params, expected = WRONG[mistake]
    versions = len(place.client.search_model_versions(f"name = '{NAME}'"))
    result = place.run(entry_point, **{name: value.format(empty=tmp_path) for name, value in params.items()})
    assert result.exit_code == 1
    assert expected in result.errors()
    assert "Traceback" not in result.errors()
    newest = place.client.search_runs(["0"], max_results=1, order_by=["attributes.start_time DESC"])[0]
    assert newest.info.status == "FAILED"
    assert len(place.client.search_model_versions(f"name = '{NAME}'")) == versions
    assert not (ROOT / "pwned").exists()


def test_a_relative_store_is_refused_with_the_uri_to_use(tmp_path):
    """MLflow would open one database in the launcher's folder and another in the step's."""
    result = Workplace(tmp_path).run("preprocess", env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    assert result.exit_code == 1
    assert f"sqlite:///{tmp_path}/mlflow.db" in result.errors()


@pytest.fixture(scope="module")
def git_url(tmp_path_factory) -> Iterator[str]:
    """This checkout as committed and as it stands, served over the git protocol on loopback."""
    served = tmp_path_factory.mktemp("served")
    repository.commit(copied(served / "project"))
    with git_daemon(served) as prefix:
        yield f"{prefix}/project"


def test_a_commit_of_a_git_url_runs_under_uv_from_an_empty_folder(git_url, tmp_path, migrated_store):
    """`mlflow run <git URL> -v <sha> -e hpo` needs nothing but the URL, and leaves nothing but the store."""
    elsewhere = workplace(tmp_path / "empty", migrated_store)
    sha = subprocess.run(["git", "ls-remote", git_url, "HEAD"], capture_output=True, text=True, check=True).stdout[:40]
    result = elsewhere.run("hpo", uri=git_url, version=sha, env_manager="uv", **SMALL)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in elsewhere.folder.iterdir()) == ["mlflow.db", "mlruns"]
    run = elsewhere.client.get_run(result.run_id)
    assert run.data.tags[names.COMMIT] == sha
    assert run.data.tags[names.DIRTY] == "false"
    record = recorded(elsewhere.client, result.run_id)
    assert record.source["remote"] == git_url
    assert (record.environment["manager"], record.environment["differences"]) == ("uv", [])
    upstream = elsewhere.client.search_runs(["0"], f"tags.`{names.STEP}` = 'preprocess'")
    assert [step.data.tags[names.PROJECT_ENV] for step in upstream] == ["uv"]


def test_the_launcher_is_the_one_under_test():
    """The tests run the pinned mlflow, not one that happens to be on PATH."""
    assert LAUNCHER.exists()
    assert mlflow.__version__ == "3.17.2"


def test_a_dirty_tree_is_restored_from_the_runs_artifacts(tmp_path, migrated_store, git_url):
    """Changed, added (binary) and deleted files: commit and patch give exactly that tree back, byte for byte."""
    from provenance.git.source import apply_patch

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", git_url, str(clone)], check=True)
    (clone / "README.md").write_text("changed\n")
    (clone / "docs" / "picture.bin").write_bytes(bytes(range(256)) * 5)
    subprocess.run(["git", "add", "docs/picture.bin"], cwd=clone, check=True)
    (clone / "LICENSE").unlink()
    place = workplace(tmp_path / "place", migrated_store)
    result = place.run("preprocess", uri=clone, source="sample:1000")
    assert result.exit_code == 0, result.stderr
    tags = place.client.get_run(result.run_id).data.tags
    assert tags[names.DIRTY] == "true"
    restored = tmp_path / "restored"
    subprocess.run(["git", "clone", "-q", git_url, str(restored)], check=True)
    subprocess.run(["git", "checkout", "-q", tags[names.COMMIT]], cwd=restored, check=True)
    patch = mlflow.artifacts.download_artifacts(
        run_id=result.run_id, artifact_path=names.PATCH_FILE, tracking_uri=place.store
    )
    apply_patch(restored, Path(patch).read_bytes())

    def tree(folder: Path) -> dict[str, bytes]:
        paths = (path for path in folder.rglob("*") if path.is_file() and not {".git", "__pycache__"} & set(path.parts))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    assert tree(restored) == tree(clone)


def test_why_a_step_is_not_reused_is_said_once(place, first):
    """By the chain, which starts the step; the step itself would say the same again."""
    place.client.delete_registered_model_alias(NAME, "candidate")
    again = place.run(**SMALL)
    assert again.exit_code == 0, again.stderr
    assert [line.partition("reuse: ")[0] for line in again.stderr.splitlines() if "cannot reuse" in line] == [
        "register: cannot "
    ]
