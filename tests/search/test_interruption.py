"""A search killed with -9 at random moments and run again is the search that nobody disturbed."""

import random
import signal
import subprocess
import sys
import time

import pytest

from search.tpe import search
from search.trial import run_trial
from tests.support.interrupted_search import SPACE, TRIALS, recorded
from tests.support.objectives import Toy, starts, ten
from tests.support.project import ROOT


class Killed:
    """A search in a process of its own that is killed and started again; what it recorded, what it ran."""

    def __init__(self, folder, hangs_once=-1):
        self.store, self.traces = folder / "store", folder / "traces"
        self.store.mkdir()
        self.traces.mkdir()
        program = [sys.executable, "-m", "tests.support.interrupted_search"]
        self.command = [*program, str(self.store), str(self.traces), str(hangs_once)]
        self.done_before = []  # (moment of a start, the numbers recorded by then)

    def start(self):
        self.done_before.append((time.monotonic_ns(), set(recorded(self.store))))
        return subprocess.Popen(self.command, cwd=ROOT, stderr=subprocess.PIPE)

    def kill(self, when, moment=0.0):
        """Start it, and kill it `moment` seconds after `when(the numbers recorded)` holds."""
        with self.start() as process:
            while not when(set(recorded(self.store))):
                assert process.poll() is None, process.stderr.read().decode()
                time.sleep(0.005)
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)

    def finish(self):
        with self.start() as process:
            try:
                assert process.wait(timeout=120) == 0, process.stderr.read().decode()
            finally:
                process.kill()
        return list(dict(sorted(recorded(self.store).items())).values())

    def again(self):
        """Numbers of trials that ran although they had been recorded."""
        ran = [started(path) for path in self.traces.iterdir()]
        return [number for number, at in ran for since, done in self.done_before if number in done and at > since]


@pytest.fixture(scope="module")
def undisturbed():
    return search(SPACE, at_once(Toy(raises=5)), max_evals=TRIALS)


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_moments_ends_as_if_it_had_not_been(kills, undisturbed, tmp_path):
    """The same trials in the end, and none that was recorded ran again."""
    killed, moments = Killed(tmp_path), random.Random(0)
    for _ in range(kills):
        goal = min(len(recorded(killed.store)) + 1, TRIALS - 1)  # some progress each time, else it would never end
        killed.kill(lambda done, goal=goal: len(done) >= goal, moments.uniform(0, 0.05))
    assert killed.finish() == undisturbed
    assert killed.again() == []
    assert len(starts(killed.traces)) >= TRIALS


def test_a_trial_that_finished_before_an_earlier_one_does_not_run_again(undisturbed, tmp_path):
    """Killed while trial 0 still runs: 1, 2 and 3 are there and stay; only 0 starts a second time."""
    killed = Killed(tmp_path, hangs_once=0)
    killed.kill(lambda done: done >= {1, 2, 3} and starts(killed.traces, 0))
    assert killed.finish() == undisturbed
    assert killed.again() == []
    assert [number for number, _ in starts(killed.traces)].count(0) == 2


def started(trace):
    number, _, moment = map(int, trace.name.split("-"))
    return number, moment


def at_once(objective):
    from concurrent.futures import Future

    def submit(number, params):
        future = Future()
        future.set_result(run_trial(objective, ten(), number, params))
        return future

    return submit
