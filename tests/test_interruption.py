"""A search killed with -9 at random moments and run again is the search that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hyperopt import hp

from taxi.search import search
from taxi.trials import TrialResult, run_trial
from tests.objectives import Toy, starts, ten

ROOT = Path(__file__).parents[1]
TRIALS = 40

# Writes each result as a file, beside and then renamed, as a stand-in for the tracking store.
SEARCH = """
    import os, sys
    from functools import partial
    from pathlib import Path
    from hyperopt import hp
    from taxi.engines.local import LocalEngine
    from taxi.search import search
    from tests.objectives import Toy, ten
    from tests.test_interruption import SPACE, TRIALS, recorded

    def record(folder, result):
        (folder / "beside").write_text(result.to_json())
        os.replace(folder / "beside", folder / str(result.number))

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        with LocalEngine(Toy(sys.argv[2], raises=5, seconds=0.02), ten, 2) as engine:
            search(SPACE, engine.submit, max_evals=TRIALS, workers=2, known=recorded(folder),
                   on_result=partial(record, folder))
"""
SPACE = {"x": hp.uniform("x", -5, 5)}


def recorded(folder):
    results = [TrialResult.from_json(path.read_text()) for path in folder.iterdir() if path.name != "beside"]
    return {result.number: result for result in results}


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_moments_ends_as_if_it_had_not_been(kills, tmp_path):
    """The same trials in the end, and none that was recorded ran again."""
    store, traces, script = tmp_path / "store", tmp_path / "traces", tmp_path / "search.py"
    store.mkdir()
    traces.mkdir()
    script.write_text(textwrap.dedent(SEARCH))
    command = [sys.executable, str(script), str(store), str(traces)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    moments, done_before = random.Random(0), []
    for kill in range(kills + 1):
        done_before.append((time.monotonic_ns(), set(recorded(store))))
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            if kill == kills:
                assert process.wait(timeout=120) == 0, process.stderr.read().decode()
            else:
                goal = len(recorded(store)) + 1  # some progress each time, else it would never end
                while len(recorded(store)) < min(goal, TRIALS - 1):
                    time.sleep(0.005)
                time.sleep(moments.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
    undisturbed = search(SPACE, at_once(Toy(raises=5)), max_evals=TRIALS)
    assert list(dict(sorted(recorded(store).items())).values()) == undisturbed
    again = [n for path in traces.iterdir() for n, at in [started(path)] for since, done in done_before
             if n in done and at > since]  # fmt: skip
    assert again == []
    assert len(starts(traces)) >= TRIALS


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
