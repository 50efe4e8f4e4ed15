"""A cluster whose scheduler, workers and client are hosts of their own, with TLS and a delay between them."""

import threading
from contextlib import contextmanager

import cloudpickle
import pytest
from hyperopt import hp

import tests.support.objectives
from search.engines import EngineError
from search.engines.dask import DaskEngine
from search.engines.local import LocalEngine
from search.tpe import search
from tests.support.cluster import code_of
from tests.support.hosts import need_hosts
from tests.support.hosts_cluster import hosts_cluster, settings_in_force
from tests.support.objectives import Toy, starts, ten

pytestmark = pytest.mark.slow
CODE = code_of()
SPACE = {"x": hp.uniform("x", -5, 5)}
cloudpickle.register_pickle_by_value(tests.support.objectives)  # workers have the project's modules, not its tests


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, 20 ms from each host to each other."""
    need_hosts()
    folder = tmp_path_factory.mktemp("hosts")
    with hosts_cluster(folder, workers=2, delay=0.02) as made, settings_in_force(made.variables):
        yield made


def searched(engine):
    with engine:
        return search(SPACE, engine.submit, max_evals=8, batch=4, workers=engine.workers)


def searched_on(cluster, objective):
    """By the client's host."""
    with cluster.network.hosts["client"].inside():
        return searched(DaskEngine(cluster.engine, objective, ten, CODE))


@contextmanager
def meanwhile(traces, number, do):
    """`do()` as soon as trial `number` has left its trace."""

    def wait():
        while not starts(traces, number) and not ended.wait(0.05):
            pass
        do()

    ended = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_hosts_give_the_results_of_this_machine(cluster, tmp_path):
    """Through TLS, from two workers with addresses of their own."""
    there = searched_on(cluster, Toy(str(tmp_path)))
    assert there == searched(LocalEngine(Toy(), ten, 2))
    assert len({pid for _, pid in starts(tmp_path)}) == 2
    reached = {receiver for sender, receiver in cluster.network.bytes if sender == "scheduler"}
    assert reached == {"worker1", "worker2", "client"}


def test_a_worker_cut_off_in_the_middle_of_a_trial_costs_time_alone(cluster, tmp_path):
    """Nobody tells: after half a minute without an answer its trial runs on the other, and it may come again."""
    with meanwhile(tmp_path, 2, lambda: cluster.network.cut("worker1")):
        there = searched_on(cluster, Toy(str(tmp_path), seconds=1.0))
    cluster.network.mend("worker1")
    assert there == searched(LocalEngine(Toy(), ten, 2))


def test_a_scheduler_that_dies_ends_the_search_with_what_to_do(cluster, tmp_path):
    """At once, in one line; with another scheduler in its place the same search goes on."""
    with (
        meanwhile(tmp_path, 2, cluster.network.hosts["scheduler"].kill),
        pytest.raises(EngineError) as error,
    ):
        searched_on(cluster, Toy(str(tmp_path), seconds=1.0))
    assert str(error.value) == (
        f"the Dask scheduler at {cluster.address} is gone\n"
        "Start one, or mend the network to it, and run again: what is finished is reused."
    )
