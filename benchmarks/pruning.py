"""What a pruner would save, and what it would cost: rules replayed on the learning curves of searches that ran whole.

    python benchmarks/pruning.py [--source sample] [--every 4] [--searches 8] [--trials 20]

Each rule looks at a trial's validation RMSE after every tenth round, from round 20 on, and stops it when it is worse
than a quantile of what the trials told by then (0 .. n - 4, five at least) had at the same round: the same decision on
every machine. TPE is not run again with what a rule would have told it; what is counted is the share of all rounds
that is saved, and the searches whose best trial is stopped. Every fourth trip is taken, as in search_quality.py.
"""

import argparse
import os
import platform
import sys
import tempfile
from concurrent.futures import Future
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
RULES = {"median": 0.5, "worst quarter": 0.75, "worst tenth": 0.9, "worse than all": 1.0}
BATCH, LEAST_TOLD, FIRST, STEP = 4, 5, 20, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="sample")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = thinned(given.source, given.every, Path(folder))
        searches = [curves(data, seed, given.trials) for seed in range(given.searches)]
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, xgboost "
          f"{version('xgboost')}")  # fmt: skip
    name = given.source if "/" not in given.source else "TLC"
    print(f"{given.searches} searches of {given.trials} trials, {name}, {len(data[0]):,} trips")
    for name, quantile in RULES.items():
        saved, lost, worse = zip(*(replayed(search, quantile) for search in searches), strict=True)
        print(f"  {name:<15} saves {100 * np.mean(saved):4.1f} % of the rounds ({100 * min(saved):.0f} to "
              f"{100 * max(saved):.0f}), stops the best trial in {sum(lost)} of {len(lost)} searches, "
              f"which end {np.mean(worse):.4f} minutes worse on average")  # fmt: skip


def thinned(source: str, every: int, folder: Path):
    from taxi.dataset.builder import build
    from taxi.dataset.dataset import Dataset
    from taxi.dataset.split import Split
    from taxi.features.fitting import FEATURE_SETS
    from taxi.sources.locate import locate

    train, val = locate(source, "green", ["2023-01", "2023-02"])
    build({"train": [train], "val": [val]}, FEATURE_SETS["full"], folder / "dataset")
    dataset = Dataset.open(folder / "dataset")
    splits = (dataset.load("train"), dataset.load("val"))
    return tuple(Split(s.X[::every].copy(), s.y[::every].copy(), s.columns, s.categorical) for s in splits)


def curves(data, seed: int, trials: int) -> list[np.ndarray]:
    """The validation RMSE after each round of each trial of one search."""
    import xgboost

    from search.tpe import search
    from taxi.models.families import FAMILIES
    from taxi.models.objective import Objective

    objective, found, train = Objective("xgboost", "full", seed=42), [], xgboost.train

    def recording(*arguments, **options):
        booster = train(*arguments, **options)
        found.append(np.array(options["evals_result"]["val"]["rmse"]))
        return booster

    def submit(number: int, params: dict) -> Future:
        future: Future = Future()
        future.set_result(replace(objective(data, number, params), files={}))
        return future

    with patch("xgboost.train", recording):
        search(FAMILIES["xgboost"].space("full"), submit, max_evals=trials, batch=BATCH, seed=seed)
    return found


def replayed(search: list[np.ndarray], quantile: float) -> tuple[float, bool, float]:
    """Share of rounds saved, whether the best trial was stopped, and by how much the best of the rest is worse."""
    seen: list[np.ndarray] = []
    for number, curve in enumerate(search):
        told, end = seen[: max(0, number - BATCH + 1)], len(curve)
        if len(told) >= LEAST_TOLD:
            for at in range(FIRST, len(curve), STEP):
                # A curve that had ended by then, stopped or not, counts with its end.
                if curve[at] > np.quantile([other[min(at, len(other) - 1)] for other in told], quantile):
                    end = at + 1
                    break
        seen.append(curve[:end])
    best = min(curve.min() for curve in search)
    left = min(curve.min() for curve, whole in zip(seen, search, strict=True) if len(curve) == len(whole))
    return 1 - sum(map(len, seen)) / sum(map(len, search)), left > best, left - best


if __name__ == "__main__":
    main()
