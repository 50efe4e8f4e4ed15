"""A real Dask cluster on loopback: scheduler and workers as processes of their own, in a folder without our code."""

import logging
import os
import shutil
import time
from functools import partial
from importlib import metadata

import cloudpickle
import dask
import pytest
from hyperopt import hp

import tests.support.objectives
from search.engines import EngineError, shipping
from search.engines.cluster import scheduler
from search.engines.dask import DaskEngine
from search.engines.local import LocalEngine
from search.engines.shipping import Code
from search.engines.versions import version_differences
from search.tpe import search
from search.trial import DIED
from search.trials_table import trials_table
from taxi.dataset.mapped_split import open_splits, save_splits
from taxi.models.families import FAMILIES
from taxi.models.objective import Objective
from tests.support.cluster import code_of, process, two_workers, wait_for
from tests.support.hosts_cluster import certificates, settings_in_force
from tests.support.objectives import Toy, no_data, starts, ten
from tests.support.trial_data import DATA

CODE = code_of("taxi")
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
    there = searched(DaskEngine(cluster, Toy(str(tmp_path), raises=5), ten, CODE))
    assert there == searched(LocalEngine(Toy(raises=5), ten, 2))
    pids = {pid for _, pid in starts(tmp_path)}
    assert len(pids) == 2 and os.getpid() not in pids


def test_a_worker_killed_in_the_middle_of_a_trial_costs_nothing(cluster, tmp_path):
    """The trial runs again, the dataset is loaded again if it went with the worker, the result is the same."""
    there = searched(DaskEngine(cluster, Toy(str(tmp_path), dies_once=6), ten, CODE))
    assert there == searched(LocalEngine(Toy(), ten, 2))
    assert len(starts(tmp_path, 6)) == 2


def test_a_trial_that_always_kills_its_worker_fails_alone(cluster, tmp_path):
    """The search ends, with one failed trial."""
    results = searched(DaskEngine(cluster, Toy(str(tmp_path), dies=3), ten, CODE))
    assert [result.number for result in results if result.status == "fail"] == [3]
    assert results[3].error == DIED


def test_data_that_cannot_be_loaded_ends_the_search_with_its_reason(cluster):
    """It is not so many failed trials."""
    with pytest.raises(FileNotFoundError, match="no such dataset"):
        searched(DaskEngine(cluster, Toy(), no_data, CODE))


@pytest.mark.parametrize(("wanted", "most", "expected"), [(0, None, 2), (0, 4, 2), (0, 1, 1), (5, 4, 4), (1, 4, 1)])
def test_as_many_trials_at_once_as_the_cluster_has_workers(wanted, most, expected, cluster):
    """Not as this machine has cores; and never more than the search can have open."""
    wait_for(cluster, workers=2)  # also for one that a test before this killed
    with DaskEngine(cluster, Toy(), ten, CODE, wanted, most) as engine:
        assert engine.workers == expected


def test_a_cluster_without_workers_or_scheduler_is_named_with_what_to_start(monkeypatch):
    """The message holds the command."""
    monkeypatch.setattr("search.engines.cluster.CONNECT_SECONDS", 0.2)
    with pytest.raises(EngineError) as error:
        DaskEngine("dask://127.0.0.1:9", Toy(), ten, CODE)
    assert str(error.value).startswith("no Dask scheduler answers at tcp://127.0.0.1:9: ")
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
        DaskEngine(cluster, Toy(), ten, CODE)
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
        for package in ("taxi", "search", "runtime"):
            shutil.copytree(shipping.ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        with open(root / "taxi" / "dataset" / "split.py", "a") as file:
            file.write(f"MARK = {version!r}\n")
        with monkeypatch.context() as patch:
            patch.setattr(shipping, "ROOT", root)
            with DaskEngine(cluster, Toy(), ten, CODE) as engine:
                marks.append(set(engine.cluster.client.run(imported).values()))
    assert marks == [{"one"}, {"two"}]


def test_workers_are_given_the_files_that_are_named_and_no_draft(cluster, tmp_path, monkeypatch):
    """What nothing imports stays here; a file that a module reads beside it is there as a file."""

    def beside():
        import search

        folder = os.path.dirname(search.__file__)
        return {name for name in os.listdir(folder) if name.endswith((".json", "t.py"))}

    for package in ("search", "runtime"):
        shutil.copytree(shipping.ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "search" / "draft.py").write_text("unfinished(")
    (tmp_path / "search" / "table.json").write_text("{}")
    files = tuple(path for path in code_of().files if path.endswith(".py"))
    monkeypatch.setattr(shipping, "ROOT", tmp_path)
    with DaskEngine(cluster, Toy(), ten, Code("tests", (*files, "search/table.json"))) as engine:
        assert list(engine.cluster.client.run(beside).values()) == [{"table.json"}] * 2


def test_a_worker_that_comes_later_with_other_packages_ends_the_search(cluster, tmp_path):
    """It is named, with what differs and what to do; its result would have been another."""
    (tmp_path / "xgboost-0.1.dist-info").mkdir()
    (tmp_path / "xgboost-0.1.dist-info" / "METADATA").write_text("Name: xgboost\nVersion: 0.1\n")
    other = ["worker", scheduler(cluster), "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
    with (
        DaskEngine(cluster, Toy(seconds=1.0), ten, CODE, workers=3) as engine,
        process(*other, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}),
    ):
        wait_for(cluster, workers=3)
        with pytest.raises(EngineError) as error:
            search(SPACE, engine.submit, max_evals=6, batch=3, workers=3)
    found = f"has xgboost 0.1 (here {metadata.version('xgboost')})"
    assert f"a Dask worker that has come since, {found}" in str(error.value)
    assert str(error.value).endswith("start it in the environment of this project's lock. Run again.")


def test_a_scheduler_that_is_gone_ends_the_next_trial_at_once(tmp_path, monkeypatch):
    """Dask would keep the trial for half a minute, in case another scheduler comes; and log a traceback at the end."""
    logged: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.getLogger("distributed.client"), "callHandlers", logged.append)
    with two_workers(tmp_path) as address:
        engine = DaskEngine(address, Toy(), ten, CODE)
        engine.submit(0, {"x": 1}).result(timeout=60)
    with engine:
        while engine.cluster.client.status == "running":
            time.sleep(0.05)
        began = time.monotonic()
        with pytest.raises(EngineError, match="is gone\nStart one, or mend the network to it"):
            engine.submit(1, {"x": 1}).result(timeout=60)
    assert time.monotonic() - began < 15
    assert logged == []


def test_a_trial_that_the_scheduler_has_forgotten_ends_the_search_with_what_to_do(cluster):
    """As when it was restarted, or lost the client for a moment. For any of Dask's reasons, or for none."""
    from distributed import Client, Future

    with DaskEngine(cluster, Toy(), ten, CODE) as engine:
        task = engine.cluster.submit(time.sleep, 3)
        with Client(scheduler(cluster), set_as_default=False) as other:
            other.cancel([Future(task.key, other)], force=True)
            with pytest.raises(EngineError, match=r"does not know .* any more: .*\nRun again: what is finished"):
                engine.cluster.result(task)


PEM = "distributed.comm.tls"


@pytest.mark.parametrize(
    ("engine", "settings", "expected"),
    [
        ("dask:tls://127.0.0.1:9", {}, "there is no certificate to show to tls://127.0.0.1:9\nDask's settings"),
        (
            "dask:tls://127.0.0.1:9",
            {f"{PEM}.ca-file": "/no.pem", f"{PEM}.client.cert": "/no.pem"},
            "Dask's certificates cannot be used: [Errno 2] No such file or directory\nDask's settings",
        ),
        (
            "dask:tls://127.0.0.1:9",
            {f"{PEM}.ca-file": __file__, f"{PEM}.client.cert": __file__},
            "Dask's certificates cannot be used: [X509",
        ),
        (
            "dask://127.0.0.1:9",
            {"distributed.comm.require-encryption": True},
            "tcp://127.0.0.1:9 is not encrypted, and Dask's settings require it\nGive dask:tls://host:port.",
        ),
    ],
)
def test_settings_of_tls_that_do_not_go_with_the_engine_are_named(engine, settings, expected):
    """Before anything is connected."""
    import distributed  # noqa: F401 - which brings settings of its own

    with dask.config.set(settings), pytest.raises(EngineError) as error:
        DaskEngine(engine, Toy(), ten, CODE)
    assert str(error.value).startswith(expected)


def test_a_scheduler_without_tls_is_told_from_none(cluster, tmp_path, monkeypatch):
    """The remedy names the settings, whichever side has none."""
    monkeypatch.setattr("search.engines.cluster.CONNECT_SECONDS", 1)
    engine = cluster.replace("dask://", "dask:tls://")
    with settings_in_force(certificates(tmp_path)), pytest.raises(EngineError) as error:
        DaskEngine(engine, Toy(), ten, CODE)
    assert str(error.value).startswith(f"no Dask scheduler answers at {scheduler(engine)}: ")
    assert "Start one with certificates of the same authority. Dask's settings distributed.comm.tls" in str(error.value)


@pytest.mark.slow
def test_real_fits_on_the_cluster_give_the_trials_of_this_machine(cluster, tmp_path):
    """XGBoost on splits opened there: parameters, scores and the saved models' digests are equal."""
    objective, space = Objective("xgboost", "full", 42), FAMILIES["xgboost"].space("full")
    save_splits(tmp_path, *DATA)
    tables = []
    for engine in (
        LocalEngine(objective, partial(open_splits, tmp_path), 2),
        DaskEngine(cluster, objective, partial(open_splits, tmp_path), CODE),
    ):
        with engine:
            tables.append(trials_table(search(space, engine.submit, max_evals=5, batch=2, workers=2)))
    assert tables[0].equals(tables[1])
    assert tables[0]["status"].to_pylist() == ["ok"] * 5
