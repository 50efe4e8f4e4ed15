"""Artifacts and tags swapped on the server by somebody who may not run code here: nothing of theirs runs."""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from provenance.pipeline.declaration import Metric
from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact
from provenance.registry import promotions
from provenance.reuse.trial_runs import TrialRuns, Trials
from runtime.files import sha256_file
from search.trial import TrialResult, failed
from steps.models import logged_model
from taxi.city.sample import write_month
from taxi.dataset.builder import build
from taxi.dataset.dataset import Dataset, DatasetError
from taxi.features.feature_map import DEFINITION, FeatureMap
from taxi.features.fitting import FEATURE_SETS, FeatureError
from taxi.models.families import FAMILIES, ModelError
from taxi.models.intervals import IntervalError, Intervals
from taxi.models.predictor import Predictor, PredictorError
from taxi.months.month import Month, file_name

REFUSALS = (ArtifactError, DatasetError, FeatureError, ModelError, PredictorError)
MARK = "TOUCHED_BY_HOSTILE_CODE"


class Bomb:
    """Leaves a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (os.environ[MARK],)


@pytest.fixture
def touched(tmp_path, monkeypatch) -> Path:
    """What exists once hostile code has run."""
    path = tmp_path / "touched"
    monkeypatch.setenv(MARK, str(path))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("dataset")
    splits = {}
    for split, name in {"train": "2023-01", "val": "2023-02", "test": "2023-03"}.items():
        path = folder / file_name("green", name)
        write_month(path, "green", name, 300, lambda rows: None)
        splits[split] = [Month("green", name, path, sha256_file(path), "sample")]
    made = folder / "made"
    made.mkdir()
    build(splits, FEATURE_SETS["full"], made)
    return Dataset.open(made)


@pytest.fixture(scope="module", params=["xgboost", "random_forest"])
def predictor(request, dataset) -> Predictor:
    family = FAMILIES[request.param]
    params = family.parse({"n_estimators": 3, "max_depth": 3})
    return Predictor("green", dataset.features, family.fit(dataset.load("train"), None, params, 1))


CODE = "import os\nos.mkdir(os.environ['" + MARK + "'])\n"
YAML = f"!!python/object/apply:os.system ['mkdir \"${MARK}\"']\n"


def traversal(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../" * 8 + os.environ[MARK], "x")
        file.writestr("schema.json", json.dumps({"__module__": "os", "__class__": "mkdir", "__loader__": "TypeNode"}))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def outside(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/passwd")


SWAPS = {
    "a pickle": pickled,
    "Python": lambda path: path.write_text(CODE),
    "a YAML tag": lambda path: path.write_text(YAML),
    "a zip that climbs": traversal,
    "a link out": outside,
}


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("swap", SWAPS)
def test_a_predictor_with_any_file_swapped_runs_nothing(swap, predictor, touched, tmp_path):
    """Features, estimator and facts are data: what is no such data is refused."""
    whole = tmp_path / "whole"
    predictor.save(whole)
    for name in [path.relative_to(whole) for path in every_file(whole)]:
        folder = Path(shutil.copytree(whole, tmp_path / "swapped"))
        SWAPS[swap](folder / name)
        with pytest.raises(REFUSALS):
            Predictor.load(folder)
        shutil.rmtree(folder)
        assert not touched.exists(), name


@pytest.mark.parametrize("swap", SWAPS)
def test_a_dataset_with_any_file_swapped_runs_nothing(swap, dataset, touched, tmp_path):
    """Also where its manifest was forged to fit."""
    for name in [path.relative_to(dataset.folder) for path in every_file(dataset.folder)]:
        folder = Path(shutil.copytree(dataset.folder, tmp_path / "swapped"))
        SWAPS[swap](folder / name)
        if name.name != "manifest.json":
            record = json.loads((folder / "manifest.json").read_text())
            record["files"][name.as_posix()]["sha256"] = sha256_file(folder / name)
            (folder / "manifest.json").write_text(json.dumps(record))
        with pytest.raises(REFUSALS):
            opened = Dataset.open(folder)
            _ = [opened.load(split) for split in opened.manifest.splits]
        shutil.rmtree(folder)
        assert not touched.exists(), name


def test_a_parquet_file_with_a_pickled_type_runs_nothing(dataset, touched, tmp_path):
    """Arrow once unpickled the types that a file says it holds."""
    folder = Path(shutil.copytree(dataset.folder, tmp_path / "swapped"))
    name = "train/2023-01.parquet"
    table = pq.read_table(folder / name)
    mark = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Bomb())}
    fields = [field.with_metadata(mark) for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), folder / name)
    record = json.loads((folder / "manifest.json").read_text())
    record["files"][name]["sha256"] = sha256_file(folder / name)
    (folder / "manifest.json").write_text(json.dumps(record))
    Dataset.open(folder).load("train")
    assert not touched.exists()


@pytest.fixture
def logged(client, predictor, tmp_path):
    """A model as register logs it, and its folder in the store."""
    run = client.create_run(client.get_experiment_by_name("trips").experiment_id)
    _, output = logged_model.log(predictor, run.info.run_id, "model", {}, {}, {})
    with open_artifact(output.uri) as folder:
        yield output, folder


def test_a_logged_model_swapped_before_it_is_registered_runs_nothing(client, logged, touched):
    """Its code, its loader, its description or its data: no version is made, none of it runs."""
    output, folder = logged
    assert (folder / "MLmodel").is_file() and list(folder.glob("code/taxi/**/*.py"))
    for path in [folder / "MLmodel", folder / "conda.yaml", *every_file(folder / "code")[:2], *folder.glob("*.py"),
                 *every_file(folder / "artifacts")]:  # fmt: skip
        before = path.read_bytes()
        for how in ("Python", "a pickle", "a YAML tag"):
            SWAPS[how](path)
            with pytest.raises(ArtifactError, match="was altered after it was made"):
                promotions.register(client, "taxi", output, {}, "")
        path.write_bytes(before)
    extra = folder / "code" / "taxi" / "sitecustomize.py"
    extra.write_text(CODE)
    with pytest.raises(ArtifactError, match="extra"):
        promotions.register(client, "taxi", output, {}, "")
    extra.unlink()
    assert not touched.exists()
    assert client.search_registered_models() == []
    assert promotions.register(client, "taxi", output, {}, "").version == 1


def test_a_model_swapped_between_registering_and_loading_runs_nothing(client, logged, touched, monkeypatch):
    """What is loaded is what was checked last."""
    output, folder = logged
    real = mlflow.register_model

    def swapping(*args, **kwargs):
        version = real(*args, **kwargs)
        for path in (*folder.glob("*.py"), *folder.glob("code/taxi/**/*.py")):
            path.write_text(CODE)
        return version

    monkeypatch.setattr(mlflow, "register_model", swapping)
    with pytest.raises(ArtifactError, match="was altered after it was made"):
        promotions.register(client, "taxi", output, {}, "")
    assert not touched.exists()


def test_the_outputs_record_of_another_run_is_refused(client, logged):
    """A record forged to fit other files has another digest than the tag that pins it: see cache.read_lineage."""
    output, _ = logged
    forged = replace(output, files={**output.files, "MLmodel": (1, hashlib.sha256(b"x").hexdigest())})
    with pytest.raises(ArtifactError, match="was altered"):
        promotions.register(client, "taxi", forged, {}, "")


GOOD = TrialResult(0, {"max_depth": 3}, "ok", loss=4.0, metrics={"val_rmse": 4.0}, model_digest="0" * 64)
BAD_RESULTS = {
    "cut": GOOD.to_json()[:40],
    "empty": " ",
    "a list": "[]",
    "a field more": GOOD.to_json()[:-1] + ', "shell": "touch x"}',
    "no number": json.dumps({**json.loads(GOOD.to_json()), "number": "../0"}),
    "not a number": GOOD.to_json().replace("4.0", "NaN"),
    "no status": json.dumps({**json.loads(GOOD.to_json()), "status": "fine"}),
    "no parameters": json.dumps({**json.loads(GOOD.to_json()), "params": "__import__('os')"}),
    "nested too deep": "[" * 4000,
    "no scores": json.dumps({**json.loads(GOOD.to_json()), "metrics": [1]}),
}


def of_search(sound: bool) -> Trials:
    """Trials of the search "k", whose models all score what they say, or none does."""
    return Trials("k", 1, Metric("val_rmse"), lambda result, files: sound)


def test_forged_results_of_trials_are_passed_over(client):
    """A search goes on from the sound ones alone; the others are run again."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    hpo = client.create_run(experiment).info.run_id
    sound = failed(1, {"max_depth": 9}, "no memory")
    for text in [*BAD_RESULTS.values(), sound.to_json(), GOOD.to_json()]:
        run = client.create_run(experiment, tags={names.SEARCH_KEY: "k", names.TRIAL_RESULT: text})
        client.set_terminated(run.info.run_id)
    runs, lines = TrialRuns(client, experiment, hpo, of_search(sound=False), "taxi"), []
    assert runs.known(10, [experiment], [experiment], lines.append) == {1: sound}
    assert [line.split(" of ")[0] for line in lines] == ["trial 0"]  # what wins does so with its model alone


def test_estimator_files_other_than_recorded_are_not_taken(client, tmp_path, touched):
    """The digest in the trial's record decides; a pickle in their place is not even looked into."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    hpo = client.create_run(experiment).info.run_id
    run = client.create_run(experiment, tags={names.SEARCH_KEY: "k", names.TRIAL_RESULT: GOOD.to_json()})
    pickled(tmp_path / "model.skops")
    client.log_artifact(run.info.run_id, str(tmp_path / "model.skops"), names.ESTIMATOR)
    runs = TrialRuns(client, experiment, hpo, of_search(sound=True), "taxi")
    assert runs.known(1, [experiment], [experiment], lambda line: None) == {}
    assert not touched.exists()


def test_numbers_of_a_sound_result_survive_exactly():
    """What a checked reader must not change."""
    result = replace(GOOD, loss=np.pi, metrics={"val_rmse": np.pi})
    assert TrialResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (Dataset.open, "manifest.json"),
        (Predictor.load, "predictor.json"),
        (FeatureMap.load, DEFINITION),
        (lambda folder: FAMILIES["xgboost"].load(folder), "model.json"),
        (lambda folder: Intervals.load(folder / "intervals.json"), "intervals.json"),
    ],
    ids=["dataset", "predictor", "features", "model", "intervals"],
)
def test_json_that_is_nested_without_end_is_refused(read, name, tmp_path):
    """It ends Python's reader in an error of its own, which is none of a missing or broken file."""
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises((*REFUSALS, IntervalError)):
        read(tmp_path)
