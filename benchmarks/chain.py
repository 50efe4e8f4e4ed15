"""The whole chain against the course's way of doing it, everything counted: process starts, MLflow, registry.

    python benchmarks/chain.py [--source ../shared/tlc] [--env-manager uv] [--runs 1] [--trials 15] [--course-entry]

As a user runs it: `.venv/bin/mlflow run . --env-manager uv`, in an environment that it built beforehand, once from an
ordinary shell and once from a container-like one (PYTHONDONTWRITEBYTECODE=1, nothing of the user's), and the contender
from the same shell, in that same environment. Both on green 2023-01..03, each time into a new copy of an empty,
migrated sqlite store, nothing reused:
`main` with features=full and model=xgboost against the four steps of benchmarks/course; with --course-entry the
entry point `course`, too (which does the 2021 months besides). Without the real months the sample stands in: then
times alone say something. 15 trials are the course's.
"""

import argparse
import re
import shutil
import tempfile
from pathlib import Path

from bench import LAUNCHER, PYTHON, ROOT, TLC, built, machine, medians, metrics, ran, shells

MONTHS = ("2023-01", "2023-02", "2023-03")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(TLC))
    parser.add_argument("--env-manager", default="uv")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--course-entry", action="store_true", help="the entry point `course` too: 15 trials, 2021 too")
    given = parser.parse_args()
    print(machine("mlflow", "xgboost", "scikit-learn"), flush=True)
    with tempfile.TemporaryDirectory(prefix="chain-") as folder:
        place = Path(folder)
        source = Path(given.source).resolve()
        if not source.is_dir():
            source = sample(place / "months")
            print("no real months: the sample of 60,000 rows a month stands in")
        (place / "empty").mkdir()
        migrate = "from mlflow import MlflowClient; MlflowClient().search_experiments()"
        store = place / "empty" / "mlflow.db"
        ran([PYTHON, "-c", migrate], place, MLFLOW_TRACKING_URI=f"sqlite:///{store}")
        for kind, shell in shells().items():
            what = f"{given.trials} trials on {MONTHS[0]} .. {MONTHS[-1]}"
            print(f"{kind} shell, {given.env_manager}, {what}", flush=True)
            compare(given, place, store, source, shell)
    print(f"  (medians of {given.runs}; bars: main at most 0.20 with a lower test RMSE, entry point course 0.50)")


def compare(given: argparse.Namespace, place: Path, store: Path, source: Path, shell: dict[str, str]) -> None:
    """Time the contenders in one kind of shell, and print a line for each."""
    python = built(new(place, store), given.env_manager, shell)
    answers: dict[str, str] = {}
    processor: dict[str, float] = {}

    def ours(name: str, entry: str, *params: str) -> float:
        here = new(place, store)
        words = [word for param in (f"source={source}", "reuse=false", *params) for word in ("-P", param)]
        command = [LAUNCHER, "run", ROOT, "-e", entry, "--env-manager", given.env_manager, *words]
        done = ran(command, here, shell=shell)
        answers[name] = f"{metrics(here, 'register')['test_rmse']:.3f}"
        processor[name] = done.processor
        return done.seconds

    def theirs() -> float:
        return contender(python, new(place, store), source, answers, processor, given.trials, shell)

    contenders = {"the course's way": theirs, "main": lambda: ours("main", "main", f"max_evals={given.trials}")}
    if given.course_entry:
        contenders["entry point course"] = lambda: ours("entry point course", "course")
    middle = medians(contenders, given.runs)
    base = middle["the course's way"]
    for name, seconds in middle.items():
        used = f"{processor[name]:6.1f} s of processor time"
        print(f"  {name:<22} {seconds:7.1f} s  {seconds / base:6.3f} of the course's  {used}  RMSE {answers[name]} min")


def new(place: Path, store: Path) -> Path:
    """A new folder to run in, with an empty store of its own."""
    here = Path(tempfile.mkdtemp(dir=place))
    shutil.copy(store, here)
    return here


def contender(python: str, here: Path, source: Path, answers: dict[str, str], processor: dict[str, float], trials: int,
              shell: dict[str, str]) -> float:  # fmt: skip
    """Wall seconds of the contender's four steps, one process after the other."""
    seconds = used = 0.0
    for words in (("prepare", source), ("baseline",), ("search", "--trials", trials), ("register",)):
        done = ran([python, ROOT / "benchmarks" / "course" / "contender.py", *words], here, shell=shell)
        seconds, used = seconds + done.seconds, used + done.processor
    answers["the course's way"] = re.search(r"test_rmse ([\d.]+)", done.stdout)[1]
    processor["the course's way"] = used
    return seconds


def sample(folder: Path) -> Path:
    import sys

    sys.path.insert(0, str(ROOT))
    from taxi.city.sample import write_month
    from taxi.months.month import file_name

    folder.mkdir()
    for month in MONTHS:
        write_month(folder / file_name("green", month), "green", month, 60_000)
    return folder


if __name__ == "__main__":
    main()
