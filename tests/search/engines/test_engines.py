"""Worker processes on this machine: what they share, what their deaths cost, what ends them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hyperopt import hp

from provenance.pipeline.declaration import Metric
from runtime.cores import cores
from search.engines.engine import Engine
from search.engines.error import EngineError
from search.engines.local import LocalEngine
from search.space import Dimension
from search.study import Settings, Study
from search.tpe import search
from search.trial import DIED, TrialResult
from tests.support.objectives import Toy, no_data, no_memory, starts, ten
from tests.support.project import ROOT

SPACE = {"x": hp.uniform("x", -5, 5)}


def run(objective, numbers, workers=2, **options):
    """The results of trials with x = number, in order."""
    with LocalEngine(objective, ten, workers, **options) as engine:
        futures = [engine.submit(number, {"x": number}) for number in numbers]
        return [future.result(timeout=60) for future in futures]


class Begun(Engine):
    """One trial at a time, in a thread. `began` has an event for each trial."""

    def __init__(self, trials):
        super().__init__(ten, workers=1)
        self.began = [threading.Event() for _ in range(trials)]

    def run(self, number, params):
        self.began[number].set()
        return TrialResult(number, params, "ok", params["x"] ** 2)

    def stop(self):
        pass


def test_no_worker_waits_while_a_result_is_written():
    """Writing takes 20 ms and more in a store, and a second on a slow server. Meanwhile two more trials begin."""
    study = Study([Dimension("x", -5.0, 5.0)], Metric("loss", "min"), ten)
    kept = []

    def keep(result):
        later = min(result.number + 2, 5)
        kept.append((result.number, engine.began[later].wait(timeout=10)))

    with Begun(trials=6) as engine:
        study.search(engine, Settings(max_evals=6), {}, lambda result: None, keep, lambda result: None)
    assert kept == [(number, True) for number in range(6)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=10):
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize(("wanted", "most", "expected"), [(0, 1000, cores()), (0, 1, 1), (5, 4, 4), (1, 4, 1)])
def test_as_many_trials_at_once_as_there_are_cores(wanted, most, expected):
    """Unless another number is given; and never more than the search can have open."""
    with LocalEngine(Toy(), ten, wanted, most) as engine:
        assert engine.workers == expected


def test_a_trial_gives_its_result_and_the_saved_model():
    """What comes back from a worker is what the objective returned."""
    [result] = run(Toy(), [3], workers=1)
    assert result.loss == 19 and result.params == {"x": 3}
    assert result.files == {"model": b"{'x': 3}"}


def test_workers_are_started_once_and_share_the_trials(tmp_path):
    """Twelve trials on two workers run in two processes, neither of them this one."""
    run(Toy(str(tmp_path), meet=2), range(12))
    pids = {pid for _, pid in starts(tmp_path)}
    assert len(pids) == 2 and os.getpid() not in pids


def test_the_search_is_the_same_with_one_to_four_workers(tmp_path):
    """The whole path through processes, bit for bit."""

    def with_workers(workers):
        with LocalEngine(Toy(raises=5), ten, workers) as engine:
            return search(SPACE, engine.submit, max_evals=16, batch=4, workers=engine.workers)

    one = with_workers(1)
    assert [with_workers(workers) == one for workers in (2, 3, 4)] == [True] * 3


def test_a_trial_that_raises_is_a_failed_trial():
    """Its error is kept in a line and its traceback beside it; the others are untouched."""
    results = run(Toy(raises=1), range(3))
    assert [result.status for result in results] == ["ok", "fail", "ok"]
    assert results[1].error == "ArithmeticError: no answer for 1"
    assert 'raise ArithmeticError(f"no answer for {number}")' in results[1].traceback


def test_a_trial_whose_worker_died_is_tried_again(tmp_path):
    """The kernel may kill a worker for another process's memory: the result is that of a run without it."""
    results = run(Toy(str(tmp_path), dies_once=2), range(5))
    assert results == run(Toy(), range(5))
    assert len({pid for _, pid in starts(tmp_path, 2)}) == 2


def test_a_trial_that_always_kills_its_worker_fails_alone(tmp_path):
    """Three attempts in three processes, and every other trial finishes."""
    results = run(Toy(str(tmp_path), dies=2), range(6))
    assert results[2] == TrialResult(2, {"x": 2}, "fail", error=DIED)
    assert [result.status for result in results].count("ok") == 5
    assert len({pid for _, pid in starts(tmp_path, 2)}) == 3


def test_a_trial_whose_worker_is_killed_each_time_ends_the_search(tmp_path):
    """Memory ran out: with more of it the trial has a result, so no failure may stand for it."""
    with LocalEngine(Toy(str(tmp_path), killed=2), ten, 2) as engine:
        futures = [engine.submit(number, {"x": number}) for number in range(4)]
        with pytest.raises(EngineError, match=r"trial 2: its worker was killed 3 times.*\n.* finished trials are kept"):
            futures[2].result(timeout=60)
        assert [futures[number].result(timeout=60).status for number in (0, 1, 3)] == ["ok"] * 3
    assert len({pid for _, pid in starts(tmp_path, 2)}) == 3


def test_what_the_machine_did_to_a_trial_is_no_result_of_it():
    """A full disk or too little memory ends the search; the worker tells, in one process as in the other."""
    with LocalEngine(Toy(full_disk=1), ten, 1) as engine:
        assert engine.submit(0, {"x": 0}).result(timeout=60).status == "ok"
        with pytest.raises(EngineError, match="trial 1: no space left: /models\n"):
            engine.submit(1, {"x": 1}).result(timeout=60)
    with LocalEngine(Toy(), no_memory, 1) as engine, pytest.raises(EngineError, match="out of memory"):
        engine.submit(0, {"x": 0}).result(timeout=60)


def test_a_trial_that_ignores_its_deadline_is_ended_from_outside(tmp_path):
    """Recorded as over time, once: it is not tried again."""
    results = run(Toy(str(tmp_path), timeout=0.2, hangs=1), range(4), grace=0.3)
    assert [result.status for result in results] == ["ok", "fail", "ok", "ok"]
    assert results[1].error == "over trial_timeout=0.2 s"
    assert len(starts(tmp_path, 1)) == 1


def test_data_that_cannot_be_opened_ends_the_search_with_its_reason():
    """It is not so many failed trials."""
    with LocalEngine(Toy(), no_data, 1) as engine, pytest.raises(RuntimeError, match="no such dataset"):
        engine.submit(0, {"x": 0}).result(timeout=60)


def test_leaving_the_engine_ends_running_trials_at_once(tmp_path):
    """A search that stops early does not wait for what it no longer needs."""
    with LocalEngine(Toy(str(tmp_path), hangs=0), ten, 1) as engine:
        engine.submit(0, {"x": 0})
        while not starts(tmp_path):
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert gone([pid for _, pid in starts(tmp_path)]) == []


PARENT = """
    import signal, sys
    from search.engines.local import LocalEngine, cores
    from tests.support.objectives import Toy, ten

    if __name__ == "__main__":
        for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs ignore the second
            signal.signal(number, signal.default_int_handler)
        with LocalEngine(Toy(sys.argv[1], hangs=0), ten, 2) as engine:
            futures = [engine.submit(number, {"x": 0}) for number in (0, 1)]
            futures[1].result()
            print("waiting", flush=True)
            futures[0].result()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_whatever_ends_it(how, tmp_path):
    """No orphan keeps a core busy: an idle worker and one in the middle of a fit are both gone."""
    script, traces = tmp_path / "parent.py", tmp_path / "traces"
    script.write_text(textwrap.dedent(PARENT))
    traces.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(traces)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"waiting\n"
        pids = [pid for _, pid in starts(traces)]
        assert all(map(alive, pids))
        parent.send_signal(how)
        parent.wait(timeout=20)
        assert gone(pids) == []


MAIN = """
from pathlib import Path
from tests.support.objectives import Toy, ten

with open({trace!r}, "a") as trace:
    trace.write("imported\\n")

if __name__ == "__main__":
    from search.engines.local import LocalEngine

    with LocalEngine(Toy({folder!r}, meet=2), ten, 2) as engine:
        futures = [engine.submit(number, {{"x": number}}) for number in range(4)]
        print([future.result().loss for future in futures])
"""


def test_workers_do_not_import_the_main_module(tmp_path):
    """A step's would parse no command line there, but look at every installed package, once for each worker."""
    (tmp_path / "starts").mkdir()
    (tmp_path / "main.py").write_text(MAIN.format(trace=str(tmp_path / "trace"), folder=str(tmp_path / "starts")))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")], env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout == "[10, 11, 14, 19]\n", done.stderr
    assert (tmp_path / "trace").read_text() == "imported\n"
