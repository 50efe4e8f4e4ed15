"""What the search costs beyond its fits, and what a second worker brings.

    python benchmarks/search_speed.py [--source sample] [--trials 12] [--runs 3]

The same trials three ways, alternating: a bare loop that fits and scores them in this process with no hyperopt and no
MLflow, the search with one worker, the search with two. Then trials that do nothing, here and on a Dask cluster of two
workers on loopback: what is left is the cost of suggesting, sending and taking in.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
IDLE_TRIALS = 60


@dataclass(frozen=True)
class Idle:
    """A trial without a fit."""

    modules = ()

    def __call__(self, data, number, params):
        from taxi.trials import TrialResult

        return TrialResult(number, params, "ok", sum(params.values()))


def nothing() -> None:
    """The data of trials that need none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="sample")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()

    from taxi.engines.local import prepare
    from taxi.trials import modules

    prepare(modules("xgboost"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("xgboost", "hyperopt", "distributed"))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {packages}")
    with tempfile.TemporaryDirectory() as folder:
        fits(Path(folder), given.source, given.trials, given.runs)
        idle(Path(folder))
    print(f"load average {os.getloadavg()[0]:.1f} (above 2 on 2 cores these figures say little)")


def fits(folder: Path, source: str, trials: int, runs: int) -> None:
    """Prints medians of wall times and their ratios."""
    import sklearn.ensemble  # noqa: F401  imports are not what is compared
    import xgboost  # noqa: F401

    from taxi.building import build
    from taxi.dataset import Dataset
    from taxi.engines.opening import opened
    from taxi.evaluation import metrics
    from taxi.features import FEATURE_SETS
    from taxi.models import FAMILIES
    from taxi.search import search
    from taxi.sources import locate
    from taxi.trials import Objective

    train, val = locate(source, "green", ["2023-01", "2023-02"])
    build({"train": [train], "val": [val]}, FEATURE_SETS["full"], folder / "dataset")
    dataset, family = Dataset.open(folder / "dataset"), FAMILIES["xgboost"]
    objective, space = Objective("xgboost", "full", seed=42), family.space("full")

    def searched(workers: int):
        began = time.perf_counter()
        with opened("local", objective, dataset, "", workers) as engine:
            results = search(space, engine.submit, max_evals=trials, workers=workers)
        return time.perf_counter() - began, results

    def bare(results) -> float:
        began = time.perf_counter()
        train, val = dataset.load("train"), dataset.load("val")
        for result in results:
            model = family.fit(train, val, family.parse(result.params, "full"), 42, threads=1)
            assert metrics(val.y, model.predict(val.X), "val") == result.metrics
        return time.perf_counter() - began

    _, first = searched(2)
    times: dict[str, list[float]] = {"bare loop": [], "1 worker": [], "2 workers": []}
    for _ in range(runs):
        times["bare loop"].append(bare(first))
        for workers in (1, 2):
            seconds, results = searched(workers)
            assert results == first
            times[f"{workers} worker{'s' * (workers > 1)}"].append(seconds)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{trials} trials of xgboost on {source}, medians of {runs}:")
    for name, seconds in middle.items():
        print(f"  {name:<10} {seconds:7.2f} s  {trials / seconds:6.2f} trials/s")
    print(f"  1 worker / bare loop         {middle['1 worker'] / middle['bare loop']:.2f}  (bar: at most 1.1)")
    print(f"  trials/s, 2 workers / 1      {middle['1 worker'] / middle['2 workers']:.2f}  (bar: at least 1.7)")


def idle(folder: Path) -> None:
    """Prints milliseconds a trial of everything that is not fitting."""
    from concurrent.futures import Future

    from taxi.engines.dask import DaskEngine
    from taxi.engines.local import LocalEngine
    from taxi.models import FAMILIES
    from taxi.search import search

    space = FAMILIES["xgboost"].space("full")

    def milliseconds(submit, workers: int) -> float:
        began = time.perf_counter()
        search(space, submit, max_evals=IDLE_TRIALS, workers=workers)
        return (time.perf_counter() - began) / IDLE_TRIALS * 1000

    def here(number, params) -> Future:
        future: Future = Future()
        future.set_result(Idle()(None, number, params))
        return future

    print(f"  suggesting alone           {milliseconds(here, 1):6.1f} ms a trial")
    with LocalEngine(Idle(), nothing, 2) as engine:
        engine.submit(0, {}).result()
        print(f"  worker process, one        {milliseconds(engine.submit, 1):6.1f} ms a trial")
    with cluster(folder) as address, DaskEngine(address, Idle(), nothing) as engine:
        engine.submit(0, {}).result()
        for workers in (1, 2):
            print(f"  Dask, {workers} at a time          {milliseconds(engine.submit, workers):6.1f} ms a trial")


@contextmanager
def cluster(folder: Path):
    """The address of a scheduler with two workers, ended with the block."""
    import json

    from distributed import Client

    file = folder / "scheduler.json"
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    commands = (
        ["scheduler", "--port", "0", "--idle-timeout", "120", *common],
        ["worker", "--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder), *common],
    )
    # This file is a module of the workers too: Idle is sent by name.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command], cwd=folder, env=environment, stderr=subprocess.DEVNULL
        )
        for command in commands
    ]
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address.removeprefix("tcp://")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    from search_speed import main  # by its name, so that workers find Idle

    main()
