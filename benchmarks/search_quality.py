"""How good a model each way of searching finds, at equal numbers of trials.

    python benchmarks/search_quality.py [--source sample] [--train 2023-01 --val 2023-02]
        [--seeds 10] [--trials 40] [--plot made.png]

Ours (trial n suggested from trials 0 .. n - 4), hyperopt's sequential TPE and random search as `fmin` runs them, and
Optuna's TPE with its defaults, in the same space with the same real fits of the same trips, of which every fourth is
taken to make this affordable. Optuna is fetched into a temporary folder: no part of any lock. Prints the best
validation RMSE after half of the trials and after all, means over seeds, and by how much ours is better or worse, seed
by seed, with a 95 % bootstrap interval. The plot shows medians, and bands that hold the middle half of the seeds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
OPTUNA = ("optuna==5.0.0", "colorlog==6.12.0")  # the rest of what it needs is in the lock
METHODS = ("ours, lag 4", "hyperopt TPE", "random", "Optuna TPE")
COLOURS = ("#1f5fa8", "#d9701a", "#8a8a8a", "#3a8f3a")
FEATURES = "full"
_state: dict = {}  # of a process: the splits, scores by parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="sample")
    parser.add_argument("--train", default="2023-01")
    parser.add_argument("--val", default="2023-02")
    parser.add_argument("--every", type=int, default=4, help="of so many trips one is taken")
    parser.add_argument("--model", default="xgboost")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--curves", type=Path, help="JSON of seeds that this command did: kept, not run again")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    began = time.perf_counter()
    found = json.loads(given.curves.read_text()) if given.curves and given.curves.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        fetched, dataset = Path(folder, "optuna"), Path(folder, "dataset")
        subprocess.run(
            [
                Path(sys.executable).parent / "uv",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                fetched,
                *OPTUNA,
            ],
            check=True,
        )
        rows = make(given, dataset)
        start = partial(prepare, str(fetched), str(dataset), given)
        with ProcessPoolExecutor(given.workers, initializer=start) as pool:
            missing = [seed for seed in range(given.seeds) if str(seed) not in found]
            for seed, best in zip(missing, pool.map(searches, missing), strict=True):
                found[str(seed)] = best
                if given.curves:
                    given.curves.write_text(json.dumps(found))
    curves = {method: np.array([found[str(seed)][method] for seed in range(given.seeds)]) for method in METHODS}
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {OPTUNA[0]}, "
          f"{', '.join(f'{name} {version(name)}' for name in ('xgboost', 'hyperopt'))}")  # fmt: skip
    name = given.source if "/" not in given.source else "TLC"
    title = (
        f"{given.model}, {name} {given.train} / {given.val}, every {given.every}th of {rows[0]:,} / {rows[1]:,} trips"
    )
    print(f"{title}; {given.seeds} seeds, {time.perf_counter() - began:.0f} s")
    report(curves)
    if given.plot:
        draw(curves, title, given.plot)
    print("curves", json.dumps({method: np.round(best.mean(axis=0), 4).tolist() for method, best in curves.items()}))


def make(given, folder: Path) -> tuple[int, int]:
    """The dataset, and its rows of train and val."""
    from taxi.dataset.builder import build
    from taxi.features.fitting import FEATURE_SETS
    from taxi.sources.locate import locate

    train, val = locate(given.source, "green", [given.train, given.val])
    manifest = build({"train": [train], "val": [val]}, FEATURE_SETS[FEATURES], folder)
    return manifest.rows("train"), manifest.rows("val")


def prepare(optuna: str, folder: str, given) -> None:
    """In each process: Optuna importable after all that is locked, the thinned splits loaded."""
    from taxi.dataset.dataset import Dataset
    from taxi.models.objective import Objective

    sys.path.append(optuna)
    dataset = Dataset.open(folder)
    train, val = (thinned(dataset.load(split), given.every) for split in ("train", "val"))
    _state.update(
        data=(train, val), objective=Objective(given.model, FEATURES, seed=42), scores={}, trials=given.trials
    )


def thinned(split, every: int):
    """Each `every`-th of its trips."""
    from taxi.dataset.split import Split

    return Split(split.X[::every].copy(), split.y[::every].copy(), split.columns, split.categorical)


def searches(seed: int) -> dict[str, list[float]]:
    """The best validation RMSE (minutes) after 1, 2, ... trials, by method."""
    runs = (ours, hyperopt_tpe, random_search, optuna_tpe)
    return {method: np.minimum.accumulate(run(seed)).tolist() for method, run in zip(METHODS, runs, strict=True)}


def fitted(params: dict):
    """The trial's result; hyperopt's TPE starts as its random search does, and no trial is run twice."""
    key = json.dumps(params, sort_keys=True)
    if key not in _state["scores"]:
        _state["scores"][key] = replace(_state["objective"](_state["data"], 0, params), files={})
    return _state["scores"][key]


def family():
    from taxi.models.families import FAMILIES

    return FAMILIES[_state["objective"].family]


def ours(seed: int) -> list[float]:
    from search.tpe import search

    def submit(number: int, params: dict) -> Future:
        future: Future = Future()
        future.set_result(replace(fitted(params), number=number))
        return future

    results = search(family().space(FEATURES), submit, max_evals=_state["trials"], batch=4, seed=seed)
    return [result.loss for result in results]


def fmin_losses(algorithm, seed: int) -> list[float]:
    from hyperopt import Trials, fmin

    trials = Trials()
    fmin(lambda params: fitted(params).loss, family().space(FEATURES), algorithm, _state["trials"], trials=trials,
         rstate=np.random.default_rng(seed), show_progressbar=False, verbose=False)  # fmt: skip
    return trials.losses()


def hyperopt_tpe(seed: int) -> list[float]:
    from hyperopt import tpe

    return fmin_losses(tpe.suggest, seed)


def random_search(seed: int) -> list[float]:
    from hyperopt import rand

    return fmin_losses(rand.suggest, seed)


def optuna_tpe(seed: int) -> list[float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def value(trial) -> float:
        params = {}
        for axis in family().space_rows(FEATURES):
            kind = trial.suggest_int if isinstance(axis.low, int) else trial.suggest_float
            params[axis.name] = kind(axis.name, axis.low, axis.high, log=axis.scale == "log")
        return fitted(params).loss

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, _state["trials"])
    return [trial.value for trial in study.trials]


def report(curves: dict[str, np.ndarray]) -> None:
    draws = np.random.default_rng(0)
    trials = curves[METHODS[0]].shape[1]
    for cut in (trials // 2, trials):
        print(f"best val_rmse after {cut} trials (minutes)   mean     sd    ours minus it [95 %]")
        mine = curves[METHODS[0]][:, cut - 1]
        for method, best in curves.items():
            scores = best[:, cut - 1]
            line = f"  {method:<36} {scores.mean():8.4f} {scores.std(ddof=1):6.4f}"
            if method != METHODS[0]:
                gap = mine - scores
                means = gap[draws.integers(len(gap), size=(10_000, len(gap)))].mean(axis=1)
                line += f"   {gap.mean():+.4f} [{np.quantile(means, 0.025):+.4f}, {np.quantile(means, 0.975):+.4f}]"
            print(line)


def draw(curves: dict[str, np.ndarray], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    from runtime.plotting import save

    picture = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = picture.add_subplot()
    axes.set(title=title, xlabel="trials", ylabel="best val_rmse so far (minutes)")
    axes.title.set_fontsize(9)
    trials = np.arange(1, curves[METHODS[0]].shape[1] + 1)
    for (method, best), colour in zip(curves.items(), COLOURS, strict=True):
        low, middle, high = np.quantile(best, [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(trials, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(trials, middle, color=colour, label=method)
    last = np.quantile(curves[METHODS[0]], 0.75, axis=0)
    axes.set_ylim(min(best.min() for best in curves.values()) - 0.002, last[min(4, len(last) - 1)] + 0.01)
    axes.legend(frameon=False)
    save(picture, path)


if __name__ == "__main__":
    from search_quality import main  # by its name, so that worker processes find its functions

    main()
