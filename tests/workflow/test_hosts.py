"""`mlflow run` on one host, a tracking server with users on another, a Dask cluster with TLS on more, 20 ms between."""

import re
import time

import pytest
from mlflow import MlflowClient

from provenance.record import names
from tests.support.chain_outputs import digests, made
from tests.support.hosts import need_hosts
from tests.support.hosts_cluster import RUN_SECONDS, hosts_cluster
from tests.support.project import SMALL, Result, Workplace, workplace

pytestmark = pytest.mark.slow
SEARCH = SMALL | {"max_evals": 12, "top_n": 1}
STEPS = {"preprocess", "train", "hpo", "register"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    need_hosts()
    with hosts_cluster(tmp_path_factory.mktemp("hosts"), workers=2, delay=0.02, server=True) as made_cluster:
        yield made_cluster


@pytest.fixture(scope="module")
def here(tmp_path_factory, migrated_store) -> Workplace:
    """Where the same is run on this machine alone."""
    return workplace(tmp_path_factory.mktemp("here"), migrated_store)


@pytest.fixture(scope="module")
def store(cluster) -> MlflowClient:
    """What the server keeps, read from its disk."""
    return MlflowClient(f"sqlite:///{cluster.folder}/server/mlflow.db")


def runs(store, query):
    return store.search_runs([experiment.experiment_id for experiment in store.search_experiments()], query)


def trials(store):
    """Finished trials of the search that runs."""
    searches = runs(store, f"tags.`{names.STEP}` = 'hpo' and attributes.status = 'RUNNING'")
    return [trial for search in searches for trial in runs(store, f"tags.`{names.PARENT}` = '{search.info.run_id}'")
            if trial.info.status == "FINISHED"]  # fmt: skip


def wait_for_trials(store, process, number):
    deadline = time.monotonic() + RUN_SECONDS
    while len(trials(store)) < number:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.5)


def taken_up(result):
    """How many trials of earlier searches were not run again."""
    return sum(map(int, re.findall(r"(\d+) trials? of earlier searches taken up", result.stderr)))


def same_chain(cluster, here, store, params):
    """`main` on the hosts makes in each step what it makes here, and nothing is left RUNNING."""
    local = here.run("main", **params)
    assert local.exit_code == 0, local.stderr
    there = cluster.mlflow_run("main", **params)
    assert there.exit_code == 0, there.stderr
    expected = made(here.client, local.run_id)
    assert expected.keys() == STEPS and all(expected.values())
    assert made(store, there.run_id) == expected
    assert runs(store, "attributes.status = 'RUNNING'") == []
    return there


def same_search(there, here, store, params):
    """The search `there` made what it makes here, and nothing is left RUNNING."""
    assert there.exit_code == 0, there.stderr
    local = here.run("hpo", **params)
    assert local.exit_code == 0, local.stderr
    assert digests(store.get_run(there.run_id)) == digests(here.client.get_run(local.run_id))
    assert runs(store, "attributes.status = 'RUNNING'") == []


def test_main_on_hosts_leaves_what_it_leaves_here(cluster, here, store):
    """The dataset came to the workers from the server, which asked who they are; models came back through Dask."""
    same_chain(cluster, here, store, SMALL)
    assert max(cluster.network.bytes["server", worker] for worker in ("worker1", "worker2")) > 50_000


def test_a_fit_shared_by_hosts_is_the_one_shared_here(cluster, here, store):
    """Each member fetched the dataset, with a user's name."""
    params = {"source": SMALL["source"], "fit_workers": 2}
    local, there = here.run("train", **params), cluster.mlflow_run("train", **params)
    assert (local.exit_code, there.exit_code) == (0, 0), there.stderr
    assert digests(store.get_run(there.run_id)) == digests(here.client.get_run(local.run_id))


def test_a_worker_cut_off_in_the_middle_of_a_trial_costs_time_alone(cluster, here, store):
    """Nobody tells: after half a minute without an answer the other worker runs its trial."""
    params = SEARCH | {"seed": 1}
    search = cluster.start_mlflow_run("hpo", **params)
    cluster.wait_for_trial_on("worker1")
    cluster.network.cut("worker1")
    exit_code, text = search.wait(RUN_SECONDS), cluster.log("client").read_text()
    removed = f"Remove worker addr: tls://{cluster.network.hosts['worker1'].address}:"
    assert removed in cluster.log("scheduler").read_text()
    cluster.network.mend("worker1")
    cluster.network.hosts["worker1"].kill()
    cluster.start_worker("worker1")
    same_search(Result(exit_code, text, text), here, store, params)


def test_a_client_that_dies_and_comes_again_ends_in_the_same(cluster, here, store):
    """It tells nobody. Its trials are taken up, the runs that it left are marked, the cluster is free again."""
    params = SEARCH | {"seed": 2}
    chain = cluster.start_mlflow_run("main", **params)
    wait_for_trials(store, chain, 2)
    cluster.network.cut("client")
    cluster.network.hosts["client"].kill()
    cluster.network.mend("client")
    assert len(runs(store, f"tags.`{names.STEP}` = 'hpo' and attributes.status = 'RUNNING'")) == 1
    again = same_chain(cluster, here, store, params)
    assert 2 <= taken_up(again) < params["max_evals"]


def test_a_scheduler_that_dies_is_named_and_the_search_goes_on_with_another(cluster, here, store):
    """One line, no traceback, the run is FAILED."""
    params = SEARCH | {"seed": 3}
    search = cluster.start_mlflow_run("hpo", **params)
    wait_for_trials(store, search, 2)
    cluster.network.hosts["scheduler"].kill()
    began = time.monotonic()
    exit_code, seconds = search.wait(RUN_SECONDS), time.monotonic() - began
    text = cluster.log("client").read_text()
    for worker in ("worker1", "worker2"):
        cluster.network.hosts[worker].kill()
    cluster.start_scheduler()
    for worker in ("worker1", "worker2"):
        cluster.start_worker(worker)
    assert exit_code != 0 and "Traceback" not in text
    assert f"Error: the Dask scheduler at {cluster.address} is gone\n" in text and "run again: what is finished" in text
    assert seconds < 25, "it waited for a scheduler that does not come again"
    assert runs(store, "attributes.status = 'RUNNING'") == []
    again = cluster.mlflow_run("hpo", **params)
    same_search(again, here, store, params)
    assert 2 <= taken_up(again) < params["max_evals"]


def test_a_worker_whose_packages_differ_is_named(cluster, store, tmp_path):
    """Before a trial is sent; the run is FAILED."""
    (tmp_path / "xgboost-0.1.dist-info").mkdir()
    (tmp_path / "xgboost-0.1.dist-info" / "METADATA").write_text("Name: xgboost\nVersion: 0.1\n")
    cluster.network.hosts["worker2"].kill()
    cluster.start_worker("worker2", PYTHONPATH=str(tmp_path))
    there = cluster.mlflow_run("hpo", **SEARCH, seed=4)
    assert there.exit_code != 0
    address = cluster.network.hosts["worker2"].address
    assert "Error: 1 Dask workers would not give the same results: tls://" + address in there.stderr
    assert "has xgboost 0.1" in there.stderr and "Traceback" not in there.stderr
    assert runs(store, "attributes.status = 'RUNNING'") == []
