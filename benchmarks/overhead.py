"""What `main` costs beyond its arithmetic: against a bare script that does the same work without MLflow or a search.

    python benchmarks/overhead.py [--rows 30000] [--trials 4] [--runs 1] [--env-manager local]

The script, in one process, reads the same three months, builds the same features, fits the same baseline and the same
trials with XGBoost on all cores, scores each, and predicts the test month with the best; the trials' parameters come
from `main`, so that it need not search, and `main` fits nothing again (refit=train). Both must find the same validation
RMSE. With few rows the difference is what the steps cost each, which is printed too. The published row is
--rows 1000000.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import LAUNCHER, PYTHON, ROOT, machine, medians, metrics, ran

sys.path.insert(0, str(ROOT))
NAMES = ("2023-01", "2023-02", "2023-03")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--env-manager", default="local")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        print(bare(**json.loads(given.bare)))
        return

    from taxi.city.sample import write_month
    from taxi.months.month import file_name

    print(machine("mlflow", "xgboost"), flush=True)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        place, source = Path(folder), Path(folder, "months")
        (place / "empty").mkdir(), source.mkdir()
        for name in NAMES:
            write_month(source / file_name("green", name), "green", name, given.rows)
        migrate = "from mlflow import MlflowClient; MlflowClient().search_experiments()"
        ran([PYTHON, "-c", migrate], place, MLFLOW_TRACKING_URI=f"sqlite:///{place}/empty/mlflow.db")
        found: dict[str, object] = {}

        def ours() -> float:
            here = Path(tempfile.mkdtemp(dir=place))
            shutil.copy(place / "empty" / "mlflow.db", here)
            words = [LAUNCHER, "run", ROOT, "--env-manager", given.env_manager, "-P", f"source={source}"]
            done = ran([*words, "-P", f"max_evals={given.trials}", "-P", "reuse=false", "-P", "refit=train"], here)
            found["ours"] = metrics(here, "register")["val_rmse"]
            found["trials"] = trials(here)
            found["steps"] = steps(here)
            return done.seconds

        def script() -> float:
            asked = json.dumps({"source": str(source), "params": found["trials"]})
            done = ran([PYTHON, __file__, "--bare", asked], place)
            found["script"] = float(done.stdout)
            return done.seconds

        middle = medians({"main": ours, "bare script": script}, given.runs)
    assert round(found["script"], 6) == round(found["ours"], 6), found
    print(f"3 x {given.rows:,} rows, {given.trials} trials, {given.env_manager}, medians of {given.runs}:")
    for name, seconds in middle.items():
        print(f"  {name:<12} {seconds:7.1f} s")
    print(f"  ratio        {middle['main'] / middle['bare script']:7.2f}  (bar: at most 1.5 at 1,000,000 rows)")
    print("  each step of the last main, seconds of its run:", found["steps"])


def bare(source: str, params: list[dict]) -> float:
    """Validation RMSE of the best trial."""
    from taxi.dataset.builder import build
    from taxi.dataset.dataset import Dataset
    from taxi.evaluation.metrics import metrics
    from taxi.features.fitting import FEATURE_SETS
    from taxi.models.families import FAMILIES
    from taxi.sources.locate import locate

    family, cores = FAMILIES["xgboost"], os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        months = locate(source, "green", NAMES)
        splits = {split: [month] for split, month in zip(("train", "val", "test"), months, strict=True)}
        build(splits, FEATURE_SETS["full"], Path(folder))
        dataset = Dataset(Path(folder), _manifest(folder))
        train, val, test = (dataset.load(split) for split in splits)
    scores = []
    for number, values in enumerate([{}, *params]):
        model = family.fit(train, val, family.parse(values), 42, threads=cores)
        model.booster.set_param({"nthread": cores})
        score = metrics(val.y, model.predict(val.X), "val")["val_rmse"]
        if number:
            scores.append((score, number, model))
    min(scores)[2].predict(test.X)
    return min(scores)[0]


def _manifest(folder: str):
    from taxi.dataset.manifest import MANIFEST, Manifest

    return Manifest(json.loads(Path(folder, MANIFEST).read_text()))


def _client(here: Path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{here}/mlflow.db")


def trials(here: Path) -> list[dict]:
    """The parameters of the trials that a store holds."""
    runs = _client(here).search_runs(["0"], "tags.`lineage.trial_result` != ''", order_by=["attributes.start_time"])
    return [json.loads(run.data.tags["lineage.trial_result"])["params"] for run in runs]


def steps(here: Path) -> str:
    runs = _client(here).search_runs(["0"], "tags.`mlflow.project.entryPoint` != ''", order_by=["start_time"])
    timed = {
        run.data.tags["mlflow.project.entryPoint"]: (run.info.end_time - run.info.start_time) / 1000 for run in runs
    }
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in timed.items())


if __name__ == "__main__":
    main()
