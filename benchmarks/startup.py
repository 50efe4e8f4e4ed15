"""Where the seconds of a step go: each entry point with nothing to compute, against `import mlflow` and its store.

    python benchmarks/startup.py [--env-manager uv] [--runs 5]

In the environment that `mlflow run` builds, in a store where `main` has run. Per entry point: wall time and processor
time of the process, medians, alternating, with their ratio to a process that only imports MLflow and opens the store;
then, by `-X importtime`, the milliseconds of importing MLflow and all that it brings, our own modules, and the packages
that MLflow did not bring already. (MLflow itself imports pandas, pyarrow, NumPy, SciPy and FastAPI.)
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench import LAUNCHER, ROOT, Ran, built, machine, ran, shells

STORE = "opening the store"
MAIN = ["--source", "sample:3000", "--max-evals", "4"]
ENTRY_POINTS = {
    "preprocess": MAIN[:2],
    "train": MAIN[:2],
    "hpo": MAIN,
    "register": MAIN,
    "main": MAIN,
    "plan": MAIN,
    "gc": [],
}
OURS = {"steps", "provenance", "taxi", "search", "runtime"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-manager", default="uv")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    print(machine("mlflow"), flush=True)
    shell = shells()["container-like"]
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        place = Path(folder)
        python = built(place, given.env_manager, shell)
        words = [word for name in ("source=sample:3000", "max_evals=4") for word in ("-P", name)]
        ran([LAUNCHER, "run", ROOT, "--env-manager", given.env_manager, *words], place, shell=shell)
        shell |= {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db", "PYTHONPATH": str(ROOT)}
        opens = "import mlflow; mlflow.MlflowClient().search_experiments()"
        commands = {STORE: ["-c", opens]} | {
            name: ["-m", f"steps.{name}", *words] for name, words in ENTRY_POINTS.items()
        }
        seen: dict[str, list[Ran]] = defaultdict(list)
        for number in range(given.runs):
            for name, command in commands.items():
                seen[name].append(ran([python, *command], place, shell=shell))
            print(f"  run {number + 1} of {given.runs}", file=sys.stderr, flush=True)
        imports = {name: imported(python, command, place, shell) for name, command in commands.items()}
    wall = {name: statistics.median(run.seconds for run in runs) for name, runs in seen.items()}
    used = {name: statistics.median(run.processor for run in runs) for name, runs in seen.items()}
    print(f"{'':18}   wall        processor    ms of imports: with MLflow, ours, others")
    for name in commands:
        others = {package: ms for package, ms in imports[name].items() if package not in imports[STORE]}
        ours = sum(ms for package, ms in others.items() if package in OURS)
        largest = sorted((item for item in others.items() if item[0] not in OURS), key=lambda item: -item[1])[:4]
        print(
            f"{name:18} {wall[name]:5.2f} s {wall[name] / wall[STORE]:5.2f} {used[name]:6.2f} s "
            f"{used[name] / used[STORE]:5.2f} {sum(imports[name].values()) - sum(others.values()):6.0f} {ours:6.0f}   "
            + ", ".join(f"{package} {ms:.0f}" for package, ms in largest if ms >= 1)
        )
    print("  (bar: 1.2 of the wall time)")


def imported(python: str, command: list[str], place: Path, shell: dict[str, str]) -> dict[str, float]:
    """Package -> milliseconds spent in its own modules while they were imported."""
    done = subprocess.run([python, "-X", "importtime", *command], cwd=place, env=shell, capture_output=True, text=True)
    found: dict[str, float] = defaultdict(float)
    for own, module in re.findall(r"(?m)^import time: +(\d+) \| +\d+ \| +([\w.]+)", done.stderr):
        found[module.partition(".")[0]] += int(own) / 1000
    return found


if __name__ == "__main__":
    main()
