"""One fit shared by workers that are hosts of their own; the link of one is cut in the middle of it."""

import threading
import time

import cloudpickle
import pytest

import tests.support.objectives
from runtime.files import sha256_file
from search.trial import files_digest
from taxi.dataset.dataset import build
from taxi.dataset.manifest import MANIFEST
from taxi.distributed.shared_fit import Member, fit_shared
from taxi.features.fitting import FEATURE_SETS
from taxi.models.boosting import BoostingParams
from taxi.sources.locate import locate
from tests.support.cluster import code_of
from tests.support.hosts import need_hosts
from tests.support.hosts_cluster import hosts_cluster, settings_in_force
from tests.support.objectives import Troubled, starts

pytestmark = pytest.mark.slow
ROUNDS = 1800  # packets: more than the beginning takes, and fewer than the whole fit
CODE = code_of("taxi")
LONG = BoostingParams(n_estimators=60, early_stopping_rounds=0, learning_rate=0.01, max_depth=4)
cloudpickle.register_pickle_by_value(tests.support.objectives)  # workers have the project's modules, not its tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("months")
    [train] = locate("sample:6000", "green", ["2023-01"], scratch=scratch)
    [val] = locate("sample:6000", "green", ["2023-02"], scratch=scratch)
    build({"train": [train], "val": [val]}, FEATURE_SETS["full"], scratch / "dataset")
    return scratch / "dataset"


def test_a_link_cut_in_the_middle_of_a_shared_fit_costs_time_alone(folder, tmp_path_factory, tmp_path):
    """Nobody tells the members that still wait: all begin again on the workers that are left, to the same model."""
    need_hosts()
    member = Member(str(folder), sha256_file(folder / MANIFEST), LONG, 42, 2)
    here = fit_shared("local", member)
    place = tmp_path_factory.mktemp("hosts")
    with hosts_cluster(place, workers=3, delay=0.02) as cluster, settings_in_force(cluster.variables):
        between = cluster.network

        def cut():
            while len(starts(tmp_path)) < 2 or between.packets.total() < begun + ROUNDS:
                time.sleep(0.05)
            pid = starts(tmp_path, 1)[0][1]
            between.cut(next(name for name, host in between.hosts.items() if pid in host.pids()))

        begun = between.packets.total()
        cutter = threading.Thread(target=cut)
        cutter.start()
        with between.hosts["client"].inside():
            there = fit_shared(cluster.engine, Troubled(*vars(member).values(), str(tmp_path), "none"), CODE)
        cutter.join()
    assert files_digest(there) == files_digest(here)
    assert len(starts(tmp_path)) == 4
