"""What a machine loses when many chains run on it at once: against the same chains one after the other.

    python benchmarks/shared_machine.py [--chains 8] [--rows 2000] [--trials 2] [--runs 1] [--env-manager local]

Each chain is `main` with a seed of its own, so that all but preprocess is computed for each. Both sides begin with a
store that is empty, and must end with the same validation RMSE for each seed. A chain that fails ends the benchmark.
"""

import argparse
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import LAUNCHER, PYTHON, ROOT, machine, medians, ran


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--env-manager", default="local")
    given = parser.parse_args()
    print(machine("mlflow", "xgboost"), flush=True)
    scores: dict[int, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="shared-") as folder:
        place = Path(folder)
        (place / "empty").mkdir()
        migrate = "from mlflow import MlflowClient; MlflowClient().search_experiments()"
        ran([PYTHON, "-c", migrate], place, MLFLOW_TRACKING_URI=f"sqlite:///{place}/empty/mlflow.db")

        def chains(at_once: int) -> float:
            here = Path(tempfile.mkdtemp(dir=place))
            shutil.copy(place / "empty" / "mlflow.db", here)
            words = [LAUNCHER, "run", ROOT, "--env-manager", given.env_manager, "-P", f"source=sample:{given.rows}"]

            def chain(seed: int) -> None:
                done = ran([*words, "-P", f"max_evals={given.trials}", "-P", "top_n=1", "-P", f"seed={seed}"], here)
                scores.setdefault(seed, []).append(re.search(r"best trial val_rmse ([\d.]+)", done.stdout)[1])

            began = time.perf_counter()
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(chain, range(given.chains)))
            return time.perf_counter() - began

        middle = medians(
            {"one after the other": lambda: chains(1), "at once": lambda: chains(given.chains)}, given.runs
        )
    assert all(len(set(found)) == 1 for found in scores.values()), scores
    print(f"{given.chains} chains of 3 x {given.rows:,} rows, {given.trials} trials, medians of {given.runs}:")
    for name, seconds in middle.items():
        print(f"  {name:<20} {seconds:7.1f} s")
    print(f"  ratio                {middle['at once'] / middle['one after the other']:7.2f}  (bar: at most 1.3)")


if __name__ == "__main__":
    main()
