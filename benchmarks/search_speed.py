"""What the search costs beyond its fits, and what a second worker brings.

    python benchmarks/search_speed.py [--source ../shared/tlc | sample] [--trials 12] [--runs 3]

The same trials six ways, alternating: a bare loop that fits and scores them in a process with no hyperopt and no
MLflow; two such processes side by side, each with all of them, which is what this machine can do at best; the search
with one worker and with two, from opening the dataset to the last trial in the tracking store; and the same two without
a store. Imports are not counted: each side has had them. Then trials that do nothing, here and on a Dask cluster of two
workers on loopback: what is left is the cost of suggesting, sending, taking in, and writing to a store (sqlite, as
`mlflow run` has it). Without the real months the sample stands in, whose trials are ten times shorter.
"""

import argparse
import json
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

from bench import ROOT, TLC, worker_code

sys.path.insert(0, str(ROOT))
IDLE_TRIALS = 60


@dataclass(frozen=True)
class Idle:
    """A trial without a fit."""

    modules = ()

    def __call__(self, data, number, params):
        from search.trial import TrialResult

        return TrialResult(number, params, "ok", sum(params.values()))


def nothing() -> None:
    """The data of trials that need none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(TLC) if TLC.is_dir() else "sample")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        return bare_loop(given.bare)

    from provenance.bootstrap.start import collect_rarely
    from search.engines.local import prepare
    from taxi.models.objective import modules

    collect_rarely()  # as a step does
    prepare(modules("xgboost"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("xgboost", "hyperopt", "distributed"))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {packages}")
    with tempfile.TemporaryDirectory() as folder:
        fits(Path(folder), given.source, given.trials, given.runs)
        idle(Path(folder))
    print(f"load average {os.getloadavg()[0]:.1f} (above 2 on 2 cores these figures say little)")


def fits(folder: Path, source: str, trials: int, runs: int) -> None:
    """Prints medians of wall times and their ratios."""
    from search.tpe import search
    from taxi.dataset.builder import build
    from taxi.dataset.dataset import Dataset
    from taxi.distributed.trial_engine import open_engine
    from taxi.features.fitting import FEATURE_SETS
    from taxi.models.families import FAMILIES
    from taxi.models.objective import Objective
    from taxi.sources.locate import locate

    train, val = locate(source, "green", ["2023-01", "2023-02"])
    build({"train": [train], "val": [val]}, FEATURE_SETS["full"], folder / "dataset")
    dataset = Dataset.open(folder / "dataset")
    objective, space = Objective("xgboost", "full", seed=42), FAMILIES["xgboost"].space("full")
    client = store(folder)

    def searched(workers: int, stored: bool = True):
        kept = trial_runs(client)
        told = {"on_finished": kept.log, "on_told": kept.follow} if stored else {}
        began = time.perf_counter()
        with kept, open_engine("local", objective, dataset, "", workers) as engine:
            # One more than there are workers, as Study.search does.
            results = search(space, engine.submit, max_evals=trials, workers=workers + 1, **told)
        return time.perf_counter() - began, results

    _, first = searched(2)
    wanted = json.dumps([[result.params, result.loss] for result in first])
    names = ("bare loop", "two bare loops", "1 worker", "2 workers", "1 without store", "2 without store")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        times["bare loop"] += bare(folder / "dataset", wanted, 1)
        times["two bare loops"].append(max(bare(folder / "dataset", wanted, 2)))
        for name, workers, stored in zip(names[2:], (1, 2, 1, 2), (True, True, False, False), strict=True):
            seconds, results = searched(workers, stored)
            assert results == first
            times[name].append(seconds)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    trips = f"{dataset.manifest.rows('train'):,} trips"
    print(
        f"{trials} trials of xgboost, {source if '/' not in source else 'TLC'}, {trips}; {runs} runs, median (range):"
    )
    for name, seconds in middle.items():
        done = trials * (2 if name == "two bare loops" else 1)
        low, high = min(times[name]), max(times[name])
        print(f"  {name:<15} {seconds:6.2f} s ({low:.2f} to {high:.2f})  {done / seconds:6.2f} trials/s")
    print(f"  1 worker / bare loop              {middle['1 worker'] / middle['bare loop']:.2f}  (bar: at most 1.1)")
    print(f"  trials/s, 2 workers / 1           {middle['1 worker'] / middle['2 workers']:.2f}  (bar: at least 1.7)")
    one, two = middle["1 without store"], middle["2 without store"]
    print(f"  the same without a store          {one / middle['bare loop']:.2f} and {one / two:.2f}")
    both = 2 * middle["bare loop"] / middle["two bare loops"]
    print(f"  trials/s, two bare loops / one    {both:.2f}  (what the machine allows)")


def bare(dataset: Path, wanted: str, processes: int) -> list[float]:
    """Seconds that each of `processes` takes for every trial of `wanted`, from opening the dataset on."""
    command = [sys.executable, __file__, "--bare", str(dataset)]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for loop in loops:
        assert loop.stdout.readline() == "ready\n"  # its imports are done
    for loop in loops:
        loop.stdin.write(wanted + "\n")
        loop.stdin.flush()
    return [float(loop.communicate()[0]) for loop in loops]


def bare_loop(dataset: Path) -> None:
    """Fit and score the trials that come on stdin; print the seconds."""
    import sklearn.ensemble  # noqa: F401
    import xgboost  # noqa: F401

    from taxi.dataset.dataset import Dataset
    from taxi.evaluation.metrics import measured, metrics
    from taxi.models.families import FAMILIES

    print("ready", flush=True)
    wanted = json.loads(sys.stdin.readline())
    began, family = time.perf_counter(), FAMILIES["xgboost"]
    opened = Dataset.open(dataset)
    train, val = opened.load("train"), opened.load("val")
    for params, val_rmse in wanted:
        model = family.fit(train, val, family.parse(params, "full"), 42, threads=1)
        assert metrics(*measured(model, val), "val")["val_rmse"] == val_rmse
    print(time.perf_counter() - began)


def store(folder: Path):
    """A client of a sqlite store of its own, past its first use."""
    import mlflow

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    client.create_experiment("trips", artifact_location=(folder / "artifacts").as_uri())
    return client


def trial_runs(client):
    """Where a search of these writes its trials."""
    from provenance.pipeline.declaration import Metric
    from provenance.reuse.trial_runs import TrialRuns, Trials

    experiment = client.get_experiment_by_name("trips").experiment_id
    trials = Trials("bench", top_n=5, metric=Metric("val_rmse", "min"), verify=lambda result, files: True)
    return TrialRuns(client, experiment, client.create_run(experiment).info.run_id, trials, project="benchmark")


def idle(folder: Path) -> None:
    """Prints milliseconds a trial of everything that is not fitting."""
    from concurrent.futures import Future

    import mlflow

    from search.engines.dask import DaskEngine
    from search.engines.local import LocalEngine
    from search.tpe import search
    from taxi.models.families import FAMILIES

    space, client = FAMILIES["xgboost"].space("full"), mlflow.MlflowClient()

    def milliseconds(submit, workers: int, **kept) -> float:
        began = time.perf_counter()
        search(space, submit, max_evals=IDLE_TRIALS, workers=workers, **kept)
        return (time.perf_counter() - began) / IDLE_TRIALS * 1000

    def written(submit, workers: int) -> float:
        with trial_runs(client) as runs:
            return milliseconds(submit, workers, on_finished=runs.log, on_told=runs.follow)

    def here(number, params) -> Future:
        future: Future = Future()
        future.set_result(Idle()(None, number, params))
        return future

    def line(what: str, cost: float) -> None:
        print(f"  {what:<36} {cost:6.1f} ms a trial")

    print(f"everything that is not fitting, {IDLE_TRIALS} trials that do nothing:")
    line("suggesting", milliseconds(here, 1))
    line("  and the tracking store", written(here, 1))
    with LocalEngine(Idle(), nothing, 2) as engine:
        engine.submit(0, {}).result()
        line("suggesting and a worker process", milliseconds(engine.submit, 1))
        line("  and the tracking store", written(engine.submit, 1))
    with cluster(folder) as address, DaskEngine(address, Idle(), nothing, worker_code()) as engine:
        engine.submit(0, {}).result()
        line("suggesting and Dask, 1 at a time", milliseconds(engine.submit, 1))
        line("suggesting and Dask, 2 at a time", milliseconds(engine.submit, 2))
        line("  and the tracking store", written(engine.submit, 2))


@contextmanager
def cluster(folder: Path):
    """The engine of a scheduler with two workers, ended with the block."""
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
        yield address.replace("tcp://", "dask://")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    from search_speed import main  # by its name, so that workers find Idle

    main()
