"""A real Dask cluster on loopback: scheduler and workers as processes of their own, in a folder without our code."""

import os
import shutil
from functools import partial
from importlib import metadata

import cloudpickle
import pytest
from hyperopt import hp

import tests.support.objectives
from search.engines import EngineError, shipping
from search.engines.dask import DaskEngine
from search.engines.local import LocalEngine
from search.engines.versions import version_differences
from search.tpe import search
from search.trial import DIED
from search.trials_table import trials_table
from taxi.dataset.mapped_split import open_splits, save_splits
from taxi.models.families import FAMILIES
from taxi.models.objective import Objective
from tests.support.cluster import two_workers, wait_for
from tests.support.objectives import Toy, no_data, starts, ten
from tests.support.trial_data import DATA

SPACE = {"x": hp.uniform("x", -5, 5)}
cloudpickle.register_pickle_by_value(tests.support.objectives)  # workers have the project's modules, not its tests


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with two workers, which gives a task up after two deaths."""
    with two_workers(tmp_path_factory.mktemp("cluster")) as address:
        yield address


def searched(engine):
    with engine:
        return search(SPACE, engine.submit, max_evals=16, batch=4, workers=engine.workers)


def test_the_cluster_gives_the_results_of_this_machine(cluster, tmp_path):
    """Bit for bit, the failed trial and saved models included, on two workers that are not this process."""
    there = searched(DaskEngine(cluster, Toy(str(tmp_path), raises=5), ten))
    assert there == searched(LocalEngine(Toy(raises=5), ten, 2))
    pids = {pid for _, pid in starts(tmp_path)}
    assert len(pids) == 2 and os.getpid() not in pids


def test_a_worker_killed_in_the_middle_of_a_trial_costs_nothing(cluster, tmp_path):
    """The trial runs again, the dataset is loaded again if it went with the worker, the result is the same."""
    there = searched(DaskEngine(cluster, Toy(str(tmp_path), dies_once=6), ten))
    assert there == searched(LocalEngine(Toy(), ten, 2))
    assert len(starts(tmp_path, 6)) == 2


def test_a_trial_that_always_kills_its_worker_fails_alone(cluster, tmp_path):
    """The search ends, with one failed trial."""
    results = searched(DaskEngine(cluster, Toy(str(tmp_path), dies=3), ten))
    assert [result.number for result in results if result.status == "fail"] == [3]
    assert results[3].error == DIED


def test_data_that_cannot_be_loaded_ends_the_search_with_its_reason(cluster):
    """It is not so many failed trials."""
    with pytest.raises(FileNotFoundError, match="no such dataset"):
        searched(DaskEngine(cluster, Toy(), no_data))


@pytest.mark.parametrize(("wanted", "most", "expected"), [(0, None, 2), (0, 4, 2), (0, 1, 1), (5, 4, 4), (1, 4, 1)])
def test_as_many_trials_at_once_as_the_cluster_has_workers(wanted, most, expected, cluster):
    """Not as this machine has cores; and never more than the search can have open."""
    wait_for(cluster, workers=2)  # also for one that a test before this killed
    with DaskEngine(cluster, Toy(), ten, wanted, most) as engine:
        assert engine.workers == expected


def test_a_cluster_without_workers_or_scheduler_is_named_with_what_to_start(monkeypatch):
    """The message holds the command."""
    monkeypatch.setattr("search.engines.cluster.CONNECT_SECONDS", 0.2)
    with pytest.raises(EngineError) as error:
        DaskEngine("127.0.0.1:9", Toy(), ten)
    assert str(error.value).startswith("no Dask scheduler answers at 127.0.0.1:9: ")
    assert "Start one: dask scheduler --host 127.0.0.1" in str(error.value)


def test_workers_with_other_versions_are_named():
    """Only what differs, by address; a missing package differs."""
    here = {"python": "3.11.7", "numpy": "2.4.6", "xgboost": "3.2.0"}
    there = {"tcp://b:2": here | {"xgboost": "3.1.0"}, "tcp://a:1": here, "tcp://c:3": here | {"numpy": None}}
    assert version_differences(here, there) == [
        "tcp://b:2 has xgboost 3.1.0 (here 3.2.0)",
        "tcp://c:3 has numpy missing (here 2.4.6)",
    ]


def test_a_cluster_of_another_environment_is_refused_with_its_versions(cluster, monkeypatch):
    """Before a trial is sent: the workers' xgboost is not the one installed here."""
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "xgboost" else installed(name))
    with pytest.raises(EngineError) as error:
        DaskEngine(cluster, Toy(), ten)
    assert "Dask workers would not give the same results: tcp://127.0.0.1:" in str(error.value)
    assert f"has xgboost {installed('xgboost')} (here 0.1)" in str(error.value)


def test_code_shipped_anew_replaces_what_workers_had_imported(cluster, tmp_path, monkeypatch):
    """A long-lived cluster runs the code of this search, not that of an earlier one."""

    def imported():
        from taxi.dataset import split

        return getattr(split, "MARK", None)

    marks = []
    for version in ("one", "two"):
        root = tmp_path / version
        for package in ("taxi", *shipping.OWN):
            shutil.copytree(shipping.ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        with open(root / "taxi" / "dataset" / "split.py", "a") as file:
            file.write(f"MARK = {version!r}\n")
        with monkeypatch.context() as patch:
            patch.setattr(shipping, "ROOT", root)
            with DaskEngine(cluster, Toy(), ten, packages=("taxi",)) as engine:
                marks.append(set(engine.client.run(imported).values()))
    assert marks == [{"one"}, {"two"}]


@pytest.mark.slow
def test_real_fits_on_the_cluster_give_the_trials_of_this_machine(cluster, tmp_path):
    """XGBoost on splits opened there: parameters, scores and the saved models' digests are equal."""
    objective, space = Objective("xgboost", "full", 42), FAMILIES["xgboost"].space("full")
    save_splits(tmp_path, *DATA)
    tables = []
    for engine in (
        LocalEngine(objective, partial(open_splits, tmp_path), 2),
        DaskEngine(cluster, objective, partial(open_splits, tmp_path), packages=("taxi",)),
    ):
        with engine:
            tables.append(trials_table(search(space, engine.submit, max_evals=5, batch=2, workers=2)))
    assert tables[0].equals(tables[1])
    assert tables[0]["status"].to_pylist() == ["ok"] * 5
