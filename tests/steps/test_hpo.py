"""The whole step, a process of its own on a real store: the same search at any number of workers, killed or not."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from provenance.record import names
from runtime.files import sha256_file
from tests.support.cluster import kill_a_worker, two_workers
from tests.support.project import ROOT, Workplace, environment, workplace

pytestmark = pytest.mark.slow
DATA = {"source": "sample:20000"}


@dataclass
class Searching:
    """`steps.hpo` on a store of its own in which the dataset is already there."""

    place: Workplace
    client: MlflowClient

    def start(self, **params: object) -> subprocess.Popen:
        return process("hpo", self.place, top_n=2, **params)

    def run(self, **params: object) -> str:
        """The digest of the trials table that it ends with."""
        return digest(finished(self.start(**params)), self.client)

    def trials(self) -> list[int]:
        """Numbers of the trials that ran, links to those of earlier searches left out."""
        runs = self.client.search_runs(["0"], f"tags.`{names.TRIAL_RESULT}` != ''", max_results=5000)
        return sorted(int(run.data.tags[names.TRIAL]) for run in runs if names.REUSED not in run.data.tags)


def process(step: str, place: Workplace, **params: object) -> subprocess.Popen:
    words = [word for name, value in {**DATA, **params}.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    env = environment({"MLFLOW_TRACKING_URI": place.store})
    return subprocess.Popen(
        [sys.executable, "-m", f"steps.{step}", *words], cwd=ROOT, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def finished(step: subprocess.Popen) -> str:
    """The run's id, from the last line it prints."""
    out, _ = step.communicate(timeout=900)
    assert step.returncode == 0
    return out.strip().splitlines()[-1].removeprefix("run ")


def digest(run_id: str, client: MlflowClient) -> str:
    """Of the trials table that the run has, or the finished run that it reused: a kill may come too late."""
    run_id = client.get_run(run_id).data.tags.get(names.REUSED, run_id)
    folder = client.get_run(run_id).info.artifact_uri.removeprefix("file://")
    return sha256_file(Path(folder, names.SEARCH, names.TRIALS_FILE))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, migrated_store) -> Path:
    """A store with a dataset; its folder is copied for each test, artifact paths and all."""
    place = workplace(tmp_path_factory.mktemp("prepared") / "place", migrated_store)
    finished(process("preprocess", place))
    return place.folder


@pytest.fixture
def searching(prepared, tmp_path) -> Callable[[], Searching]:
    """A function that gives another copy of that store."""

    def copy() -> Searching:
        place = Workplace(tmp_path / f"place-{len(list(tmp_path.iterdir()))}")
        shutil.copytree(prepared, place.folder)
        move_artifacts(place.folder / "mlflow.db", prepared, place.folder)
        return Searching(place, place.client)

    return copy


def move_artifacts(database: Path, old: Path, new: Path) -> None:
    """Let a copied store find its artifacts beside itself."""
    import sqlite3

    with sqlite3.connect(database) as connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [str(old), str(new)])


def test_one_to_four_workers_and_a_cluster_one_of_whose_workers_is_killed(searching, tmp_path):
    """The same trials table, bit for bit: the models' digests are in it."""
    here = searching()
    one = here.run(max_evals=12, workers=1, reuse="false")
    for workers in (2, 3, 4):
        assert here.run(max_evals=12, workers=workers, reuse="false") == one
    (tmp_path / "cluster").mkdir()
    there = searching()
    with two_workers(tmp_path / "cluster") as address:
        search = there.start(max_evals=12, engine=address)
        while len(there.trials()) < 3:
            assert search.poll() is None
            time.sleep(0.05)
        kill_a_worker(address)
        assert digest(finished(search), there.client) == one
    assert there.trials() == list(range(12))


def test_a_search_killed_at_twenty_moments_ends_as_an_undisturbed_one(searching):
    """kill -9 of everything at random moments of the search, and of what follows it; no trial ran twice."""
    undisturbed = searching().run(max_evals=40, workers=1)
    killed, moments, kills = searching(), random.Random(3), 0
    for _ in range(20):
        ran, search = len(killed.trials()), killed.start(max_evals=40, workers=2)
        if ran < 40:  # some progress each time, else it would never end
            while search.poll() is None and len(killed.trials()) == ran:
                time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5 if ran < 40 else 8))
        kills += search.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(search.pid, signal.SIGKILL)
        search.communicate()
    assert killed.run(max_evals=40, workers=2) == undisturbed
    assert killed.trials() == list(range(40))
    assert kills >= 15


def test_twenty_trials_raised_to_fifty_are_fifty_at_once(searching):
    """The first twenty are not run again."""
    raised = searching()
    raised.run(max_evals=20, workers=2)
    after = raised.run(max_evals=50, workers=2)
    assert raised.trials() == list(range(50))
    assert searching().run(max_evals=50, workers=2) == after


def test_the_searchs_page_says_what_was_searched_and_found(searching):
    """Best so far by trial, the space with units, plots; and the best parameters give the same model by themselves."""
    here = searching()
    result = here.place.run("hpo", max_evals=9, top_n=2, **DATA)
    assert result.exit_code == 0, result.stderr
    run = here.client.get_run(result.run_id)
    note = run.data.tags[names.NOTE].replace("&emsp;", "")
    assert "| learning_rate | 0.15 | 0.4 | log | share |" in note
    assert "| lineage | |" in note
    history = here.client.get_metric_history(result.run_id, "best_val_rmse")
    assert [point.step for point in history] == list(range(9))
    assert history[-1].value == run.data.metrics["val_rmse"] == min(point.value for point in history)
    assert len(here.client.get_metric_history(result.run_id, "val_rmse")) == 1
    trials = here.client.get_metric_history(result.run_id, f"{names.BY_TRIAL}val_rmse")
    assert [point.step for point in trials] == list(range(9))
    assert min(point.value for point in trials) == run.data.metrics["val_rmse"]
    assert {Path(file.path).name for file in here.client.list_artifacts(result.run_id, names.PLOTS)} == {
        "convergence.png", "hyperparameter_importance.png", "parallel_coordinates.html", "trials.csv",
    }  # fmt: skip
    params = f"runs:/{result.run_id}/{names.SEARCH}/{names.BEST_PARAMS_FILE}"
    assert f"-P params={params}" in run.data.tags[names.NOTE]
    alone = here.place.run("train", params=params, **DATA)
    assert alone.exit_code == 0, alone.stderr
    assert here.client.get_run(alone.run_id).data.metrics["val_rmse"] == run.data.metrics["val_rmse"]
