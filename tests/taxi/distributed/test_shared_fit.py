"""One fit shared by several: the same model wherever its members are and whatever befalls them."""

import socket
import venv
from contextlib import ExitStack, suppress
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
from distributed import Client

import tests.support.objectives
from runtime.files import sha256_file
from search.engines import EngineError
from search.trial import estimator_folder, files_digest
from taxi.dataset.dataset import Dataset, build
from taxi.dataset.manifest import MANIFEST
from taxi.distributed import shared_fit
from taxi.distributed.shared_fit import Member, fit_shared
from taxi.distributed.tracker import here
from taxi.evaluation.metrics import measured, metrics
from taxi.features.fitting import FEATURE_SETS
from taxi.models.boosting import BoostingParams
from taxi.models.families import FAMILIES, load
from taxi.sources.locate import locate
from tests.support.cluster import code_of, two_workers, wait_for
from tests.support.objectives import Troubled, starts
from tests.support.project import workplace
from tests.support.records import recorded

QUICK = BoostingParams(n_estimators=30, max_depth=5)
CODE = code_of("taxi")
LONG = BoostingParams(n_estimators=600, early_stopping_rounds=0, learning_rate=0.01, max_depth=5)
cloudpickle.register_pickle_by_value(tests.support.objectives)  # workers have the project's modules, not its tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of two months to train on."""
    scratch = tmp_path_factory.mktemp("months")
    train = locate("sample:6000", "green", ["2023-01", "2023-02"], scratch=scratch)
    val = locate("sample:6000", "green", ["2023-03"], scratch=scratch)
    build({"train": list(train), "val": list(val)}, FEATURE_SETS["full"], scratch / "dataset")
    return scratch / "dataset"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with two_workers(tmp_path_factory.mktemp("cluster")) as address:
        yield address


def member(folder, size=2, params=QUICK):
    return Member(str(folder), sha256_file(folder / MANIFEST), params, 42, size)


def troubled(folder, traces, trouble, params=QUICK):
    return Troubled(*vars(member(folder, params=params)).values(), str(traces), trouble)


@pytest.mark.parametrize("members", [1, 2, 3, 7])
def test_shares_together_have_every_trip_once(members, folder):
    """In the order of the parts; a share that is all has the parts as they are."""
    dataset = Dataset.open(folder)
    shares = [list(dataset.split("train", share=(k, members)).parts(1000)) for k in range(members)]
    rows = [np.column_stack([part.X, part.y]) for cut in zip(*shares, strict=True) for part in cut]
    whole = dataset.load("train")
    assert np.array_equal(np.vstack(rows), np.column_stack([whole.X, whole.y]), equal_nan=True)
    sizes = [sum(map(len, parts)) for parts in shares]
    assert max(sizes) - min(sizes) <= len(shares[0])


def test_a_cluster_fits_the_model_that_as_many_processes_here_fit(folder, cluster):
    """Bit for bit; by its error it is as good as the model of one process, whose bytes are others."""
    local = fit_shared("local", member(folder))
    assert files_digest(fit_shared(cluster, member(folder), CODE)) == files_digest(local)
    dataset = Dataset.open(folder)
    train, val = dataset.load("train"), dataset.load("val")
    with estimator_folder(local) as place:
        shared = load("xgboost", place)
    alone = FAMILIES["xgboost"].fit(train, val, QUICK, 42)
    assert shared.booster.save_raw() != alone.booster.save_raw()
    errors = [metrics(*measured(model, val), "val")["val_rmse"] for model in (shared, alone)]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


@pytest.mark.parametrize("where", ["here", pytest.param("there", marks=pytest.mark.slow)])
def test_a_member_killed_in_the_middle_of_the_fit_costs_time_alone(where, folder, cluster, tmp_path):
    """kill -9 of one: the others notice at once, all begin again, and the model is the same."""
    engine = "local" if where == "here" else cluster
    model = fit_shared(engine, troubled(folder, tmp_path, "dies once", LONG), CODE)
    assert len(starts(tmp_path, 1)) >= 2
    wait_for(cluster, workers=2)
    assert files_digest(model) == files_digest(fit_shared("local", member(folder, params=LONG)))


@pytest.mark.slow
def test_a_member_that_always_dies_ends_the_fit(folder, tmp_path):
    """After three attempts, with what to do."""
    with pytest.raises(EngineError, match=r"shared by 2 failed 3 times: .*\nGive its members more memory"):
        fit_shared("local", troubled(folder, tmp_path, "dies", LONG))
    assert len(starts(tmp_path, 1)) == 3


@pytest.mark.parametrize("where", ["here", "there"])
def test_what_one_member_cannot_do_is_told_and_nobody_waits_for_it(where, folder, cluster, tmp_path):
    """Its own error, not that of those it left waiting; no second attempt."""
    with pytest.raises(EngineError, match=r"a member of the shared fit failed: ArithmeticError: no answer"):
        fit_shared("local" if where == "here" else cluster, troubled(folder, tmp_path, "raises"), CODE)
    assert len(starts(tmp_path, 1)) == 1


def test_leaving_ends_a_tracker_that_listens_to_a_member():
    """XGBoost's own end waits for a member that has connected and says nothing."""
    with ExitStack() as tracker:
        joining = tracker.enter_context(here(2))
        address = joining["dmlc_tracker_uri"], joining["dmlc_tracker_port"]
        with socket.create_connection(address, timeout=60) as silent:
            assert silent.recv(1)  # it asks who that is
            tracker.close()
            with suppress(ConnectionResetError):
                while silent.recv(64):
                    pass


def test_a_scheduler_that_has_not_got_xgboost_is_named(folder, cluster, tmp_path):
    """And where to start it instead."""
    venv.create(tmp_path / "bare")

    def started_by(python):
        import sys

        before, sys.executable = sys.executable, python
        return before

    with Client(cluster.replace("dask:", "tcp:")) as client:
        before = client.run_on_scheduler(started_by, str(tmp_path / "bare" / "bin" / "python"))
        try:
            with pytest.raises(EngineError, match=r"No module named 'xgboost'\nStart it in the environment"):
                fit_shared(cluster, member(folder), CODE)
        finally:
            client.run_on_scheduler(started_by, before)


def test_a_cluster_with_fewer_workers_is_named(folder, cluster, monkeypatch):
    """Before anything is fitted."""
    monkeypatch.setattr(shared_fit, "WORKERS_SECONDS", 0.2)
    with pytest.raises(EngineError, match="has 2 workers, fewer than the 3 that are to share the fit"):
        fit_shared(cluster, member(folder, size=3), CODE)


def test_another_dataset_is_not_taken_for_it(folder):
    """A worker that sees another dataset at the same place fits nothing."""
    with pytest.raises(EngineError, match=r"shared fit failed: .* is another dataset .*\nRun hpo again"):
        fit_shared("local", replace(member(folder), manifest_sha256="0" * 64))


@pytest.mark.slow
def test_a_shared_fit_is_recorded_apart_and_repeated_without_the_cluster(tmp_path, migrated_store):
    """By the real `mlflow run`: two workers, then the number's own key, then a repetition by two processes."""
    place = workplace(tmp_path / "place", migrated_store)
    data = {"source": "sample:3000"}
    alone = place.run("train", **data)
    with two_workers(tmp_path) as address:
        shared = place.run("train", fit_workers=2, engine=address, **data)
    assert (alone.exit_code, shared.exit_code) == (0, 0), shared.stderr
    models = [recorded(place.client, run.run_id).outputs[0].digest for run in (alone, shared)]
    assert models[0] != models[1]
    assert f"reused run {shared.run_id}" in place.run("train", fit_workers=2, **data).stderr
    assert f"reused run {alone.run_id}" in place.run("train", **data).stderr
    again = place.run("reproduce", run_id=shared.run_id, patch="true")
    assert again.exit_code == 0, again.stderr
    assert "identical" in again.stdout and "got rank" not in again.stdout + again.stderr
    other = place.run("train", fit_workers=2, model="linear", **data)
    assert "a linear fit cannot be shared" in other.stderr and other.exit_code != 0
