"""A logged model as a server has it: its environment is the lock, and it answers where nothing of the project is."""

import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from provenance.record.artifacts import open_artifact
from steps.models import logged_model
from steps.models.serving import Served, ServingError
from taxi.city.sample import write_month
from taxi.dataset.split import Split
from taxi.features.fitting import FEATURE_SETS, fit
from taxi.models.families import FAMILIES
from taxi.models.intervals import Intervals
from taxi.models.predictor import Predictor
from taxi.months.month import Month
from taxi.months.trips import kept_trips
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import LAUNCHER, ROOT, SMALL, environment, workplace

NAME = "nyc-taxi-duration-sample"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> Predictor:
    """Fitted on a month of 1,000 records."""
    raw = tmp_path_factory.mktemp("raw") / "green_tripdata_2023-01.parquet"
    write_month(raw, "green", "2023-01", 1000)
    batches = list(kept_trips(Month("green", "2023-01", raw, "", ""), True, Counter()))
    features = fit(FEATURE_SETS["full"], [batches])
    columns = features.transform(batches[0])
    X = features.matrix({field: columns[field].to_numpy() for field in columns.schema.names})
    y = batches[0]["duration"].to_numpy()
    family = FAMILIES["xgboost"]
    params = family.parse({"n_estimators": 20}, "test")
    estimator = family.fit(Split(X, y, features.labels, features.categorical), None, params, 1)
    return Predictor("green", features, estimator, Intervals.learn(y, estimator.predict(X)))


@pytest.fixture
def logged(client, predictor):
    """The record of its logged model."""
    return logged_model.log(predictor, client.create_run("1").info.run_id, "model", {}, {}, {})[1]


def test_a_logged_model_carries_the_lock_byte_by_byte(logged):
    """Whoever builds its environment gets every package of the lock, each file by its hash, and the same Python."""
    with open_artifact(logged.uri) as folder:
        assert (folder / "requirements-lock.txt").read_bytes() == (ROOT / "requirements.lock").read_bytes()
        assert (folder / "requirements.txt").read_text() == "-r requirements-lock.txt\n-c constraints.txt\n"
        python_env, conda = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("python_env", "conda"))
        direct = (folder / "constraints.txt").read_text().split()
    assert python_env == {"python": "3.11.7", "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
    assert conda["dependencies"] == ["python=3.11.7", "pip=26.2", {"pip": ["-r requirements.txt"]}]
    assert set(direct) <= set(locked())


def test_the_lock_in_a_model_changes_nothing_that_is_compared(logged):
    """The same model is the same whatever lock it came with; the lock is part of its run's key."""
    assert {path for path in logged.files if path not in logged.volatile} == {
        path for path in logged.files if path.startswith("artifacts/")
    }


def test_a_model_loaded_beside_other_versions_is_warned_of(logged, caplog):
    """MLflow does so of requirements that it can read, which hashed ones are not."""
    import mlflow

    with open_artifact(logged.uri) as folder:
        constraints = folder / "constraints.txt"
        constraints.write_text(re.sub("numpy==.*", "numpy==1.0", constraints.read_text()))
        mlflow.pyfunc.load_model(str(folder))
    assert "numpy (current: " in caplog.text
    assert "xgboost" not in caplog.text


def test_a_model_answers_to_the_last_bit_where_nothing_of_the_project_is(logged, predictor):
    """In a process of its own, from the files alone, which stay as they were."""
    trips = logged_model.example(predictor)
    with open_artifact(logged.uri) as folder, Served() as served:
        before = sorted(folder.rglob("*"))
        served.ask(folder, trips)
        served.check(predictor.answer(trips))
        assert sorted(folder.rglob("*")) == before


def test_the_example_is_of_zones_that_the_model_knows(logged, predictor):
    """Whoever tries it gets an answer of the model and not a fallback."""
    import mlflow

    with open_artifact(logged.uri) as folder:
        example = mlflow.models.Model.load(folder).load_input_example(str(folder))
    assert len(example) == 2
    assert predictor.answer(example)["note"].tolist() == [None, None]


def test_a_note_is_loaded_as_text_or_none(logged, predictor):
    """Beside the numbers; NaN is what JSON does not have."""
    import mlflow

    known = logged_model.example(predictor)
    trips = known.assign(PULocationID=[known["PULocationID"][0], -75])
    with open_artifact(logged.uri) as folder:
        model = mlflow.pyfunc.load_model(str(folder))
        answer = model.predict(trips)
    assert answer["note"].tolist() == [None, "PULocationID is no zone (1 to 265)"]
    assert model.metadata.signature.outputs.input_names() == ["duration", "duration_low", "duration_high", "note"]
    assert model.metadata.signature.outputs.required_input_names()[-1] == "duration_high"


def test_a_model_with_another_note_is_refused(logged, predictor):
    """The note is compared as the numbers are."""
    trips = logged_model.example(predictor)
    expected = predictor.answer(trips)
    expected["note"][0] = "x"
    with open_artifact(logged.uri) as folder, Served() as served:
        served.ask(folder, trips)
        with pytest.raises(ServingError, match="outside the project"):
            served.check(expected)


def test_a_model_that_answers_otherwise_is_refused(logged, predictor):
    """One bit is enough."""
    trips = logged_model.example(predictor)
    expected = predictor.answer(trips)
    expected["duration"] = np.nextafter(expected["duration"], np.inf, dtype=expected["duration"].dtype)
    with open_artifact(logged.uri) as folder, Served() as served:
        served.ask(folder, trips)
        with pytest.raises(ServingError, match="outside the project"):
            served.check(expected)


def test_a_model_that_needs_the_project_is_refused(logged, predictor, tmp_path):
    """Here it would load, since `taxi` can be imported; on a server it would not."""
    trips = logged_model.example(predictor)
    with open_artifact(logged.uri) as folder:
        shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "code" / "taxi")
    with Served() as served:
        served.ask(tmp_path / "model", trips)
        with pytest.raises(ServingError, match=r"cannot be loaded outside the project: .*taxi"):
            served.check(predictor.answer(trips))


def locked() -> dict[str, str]:
    """Every pin of the lock that is for this platform, ``name==version``, as uv lists what is installed."""
    lines = re.findall(r"(?m)^([a-z0-9][^\\\n]*)", (ROOT / "requirements.lock").read_text())
    wanted = [Requirement(line) for line in lines]
    return {f"{one.name}{one.specifier}": one.name for one in wanted if not one.marker or one.marker.evaluate()}


@pytest.mark.slow
def test_served_under_uv_the_environment_is_the_lock_and_the_answers_those_of_predict(tmp_path, migrated_store):
    """Nothing more installed, nothing less, no other version; to the last bit."""
    import pyarrow.parquet as pq
    import requests

    place = workplace(tmp_path / "place", migrated_store)
    made = place.run(**SMALL)
    assert made.exit_code == 0, made.stderr
    port, envs = free_port(), tmp_path / "envs"
    began = time.monotonic()
    command = [LAUNCHER, "models", "serve", "-m", f"models:/{NAME}@champion", "-p", str(port), "-w", "1",
               "--env-manager", "uv"]  # fmt: skip
    variables = environment({"MLFLOW_TRACKING_URI": place.store, "MLFLOW_ENV_ROOT": str(envs)})
    log = tmp_path / "serve.log"
    with background(command, log, variables, tmp_path) as server:
        wait_for_answer(f"http://127.0.0.1:{port}/ping", log, server)
        print(f"served after {time.monotonic() - began:.1f} s")
        [python] = envs.glob("**/bin/python")
        listed = subprocess.run([LAUNCHER.with_name("uv"), "pip", "list", "--python", python, "--format", "freeze"],
                                capture_output=True, text=True, check=True)  # fmt: skip
        assert sorted(listed.stdout.split()) == sorted(locked())
        trips, out = tmp_path / "trips.parquet", tmp_path / "out.parquet"
        write_month(trips, "green", "2023-04", 300)
        predicted = place.run("predict", trips=trips, out=out)
        assert predicted.exit_code == 0, predicted.stderr
        assert f"model {NAME}, of the sample's made-up city" in predicted.stderr
        columns = ["PULocationID", "DOLocationID", "trip_distance", "lpep_pickup_datetime"]
        rows = pq.read_table(trips, columns=columns).to_pylist()
        records = [{**row, "lpep_pickup_datetime": row["lpep_pickup_datetime"].isoformat()} for row in rows]
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json={"dataframe_records": records}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == pq.read_table(out).drop_columns(["reason"]).to_pylist()


@pytest.mark.slow
def test_a_package_with_other_bytes_than_the_locks_is_not_installed(logged, tmp_path):
    """The environment of a served model is checked file by file: here every hash of one package is another one."""
    uv = Path(LAUNCHER.with_name("uv"))
    with open_artifact(logged.uri) as folder:
        shutil.copytree(folder, tmp_path / "model")
    lock = tmp_path / "model" / "requirements-lock.txt"
    text = lock.read_text()
    start = text.index("\nclick==")
    end = text.index("\ncloudpickle==")
    lock.write_text(text[:start] + re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, text[start:end]) + text[end:])
    subprocess.run([uv, "venv", "-q", tmp_path / "env"], check=True)
    done = subprocess.run([uv, "pip", "install", "--python", tmp_path / "env" / "bin" / "python", "-r",
                           "requirements.txt"], cwd=tmp_path / "model", capture_output=True, text=True)  # fmt: skip
    assert done.returncode != 0
    assert "Hash mismatch" in done.stderr
