"""How much `main` is better than XGBoost on the usual features, on several choices of months.

    python benchmarks/margins.py [--source ../shared/tlc] [--only 2023-01] [--features full] [--trials 20]

The yardstick: the zones as categories, minute of the day, weekday and, for `full`, the metered distance; and smoothed
means of the training months, out of five folds for the trips they are made of: minutes by pair, by zone, by pair and
part of the day, by hour of the week, and the miles and the speed of the pair. XGBoost with as many trials of
hyperopt's TPE, chosen on validation. `main` runs with its defaults, through `mlflow run`. Both learn from the training
months alone, and are told on the same trips; `main` fits the chosen one again on train and val, which is told apart.

Months: train/val/test, a `+` between months of one split. Without the real months the sample stands in.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from bench import LAUNCHER, ROOT, TLC, machine, metrics, ran

sys.path.insert(0, str(ROOT))
REAL = (
    "2023-01/2023-02/2023-03",
    "2023-03/2023-02/2023-01",
    "2021-01/2021-02/2023-01",
    "2021-01+2021-02/2023-01/2023-02",
)
MADE = ("2022-06/2022-07/2022-08",)
FOLDS, SMOOTHED = 5, 10.0  # trips that the mean of all counts for
SEED = 42


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(TLC))
    parser.add_argument("--only", default="", help="choices of months that begin so")
    parser.add_argument("--features", default="full,pickup")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0, help="of main; changes no result")
    given = parser.parse_args()
    real = Path(given.source).resolve().is_dir()
    source = str(Path(given.source).resolve()) if real else "sample"
    print(
        f"{machine('xgboost', 'hyperopt')}, {'real months' if real else 'the sample'}, {given.trials} trials",
        flush=True,
    )
    print("RMSE, minutes           features  yardstick val / test   main val / test      less      fitted again")
    for choice in REAL if real else MADE:
        for features in given.features.split(","):
            if choice.startswith(given.only):
                print(line(source, choice, features, given.trials, given.workers), flush=True)


def line(source: str, choice: str, features: str, trials: int, workers: int) -> str:
    val, test = yardstick(source, choice, features == "full", trials)
    ours = chain(source, choice, features, trials, workers)
    gains = f"{1 - ours[0] / val:5.1%} {1 - ours[1] / test:5.1%}"
    return (f"{choice:32} {features:8}  {val:.3f} / {test:.3f}   {ours[0]:.3f} / {ours[1]:.3f}   {gains}"
            f"   {ours[2]:.3f}")  # fmt: skip


def chain(source: str, choice: str, features: str, trials: int, workers: int) -> tuple[float, float, float]:
    """Validation and test RMSE of what `main` chooses, and the latter after it was fitted again."""
    months = zip(("train_months", "val_months", "test_months"), choice.replace("+", ",").split("/"), strict=True)
    params = {"source": source, **dict(months), "features": features, "max_evals": trials, "workers": workers}
    words = [word for name, value in params.items() for word in ("-P", f"{name}={value}")]
    with tempfile.TemporaryDirectory(prefix="margins-") as folder:
        ran([LAUNCHER, "run", ROOT, "--env-manager", "local", *words], Path(folder))
        found = metrics(Path(folder), "register")
    return found["val_rmse"], found["test_rmse"], found["registered_test_rmse"]


def yardstick(source: str, choice: str, metered: bool, trials: int) -> tuple[float, float]:
    """Validation and test RMSE of the best of so many trials."""
    import xgboost as xgb
    from hyperopt import fmin, hp, tpe
    from hyperopt.pyll.base import scope

    trips = read(source, choice)
    frames = encoded(trips, metered)
    train, val, test = (
        xgb.DMatrix(frames[name], trips[name]["duration"], enable_categorical=True, nthread=1) for name in trips
    )
    best: dict[str, float] = {"val": np.inf}

    def tried(params: dict) -> float:
        booster = xgb.train(
            {**params, "objective": "reg:squarederror", "tree_method": "hist", "seed": SEED, "nthread": 1},
            train, 2000, evals=[(val, "val")], early_stopping_rounds=20, verbose_eval=False,
        )  # fmt: skip
        if booster.best_score < best["val"]:
            minutes = booster.predict(test, iteration_range=(0, booster.best_iteration + 1))
            best.update(val=booster.best_score, test=float(((minutes - test.get_label()) ** 2).mean() ** 0.5))
        return booster.best_score

    space = {
        "max_depth": scope.int(hp.quniform("max_depth", 5, 10, 1)),
        "eta": hp.loguniform("eta", np.log(0.05), np.log(0.3)),
        "min_child_weight": hp.loguniform("min_child_weight", np.log(3), np.log(100)),
        "subsample": hp.uniform("subsample", 0.6, 1),
        "colsample_bytree": hp.uniform("colsample_bytree", 0.5, 1),
        "reg_lambda": hp.loguniform("reg_lambda", np.log(1), np.log(300)),
    }
    fmin(tried, space, tpe.suggest, trials, rstate=np.random.default_rng(SEED), show_progressbar=False)
    return best["val"], best["test"]


def read(source: str, choice: str) -> dict[str, pd.DataFrame]:
    """The trips that `main` keeps: split -> zones, pickup time, miles, minutes."""
    from taxi.dataset.builder import build
    from taxi.dataset.dataset import RAW, Dataset
    from taxi.features.fitting import FEATURE_SETS
    from taxi.sources.locate import locate

    splits = {split: part.split("+") for split, part in zip(("train", "val", "test"), choice.split("/"), strict=True)}
    with tempfile.TemporaryDirectory() as scratch:
        months = {name: locate(source, "green", part, scratch=Path(scratch)) for name, part in splits.items()}
        build(months, FEATURE_SETS["full"], Path(scratch, "dataset"))
        dataset = Dataset.open(Path(scratch, "dataset"))
        return {
            name: pd.concat([batch.select([*RAW, "duration"]).to_pandas() for batch in dataset.batches(name)])
            for name in splits
        }


def encoded(trips: dict[str, pd.DataFrame], metered: bool) -> dict[str, pd.DataFrame]:
    """The yardstick's features, whose means are learned from the training months."""
    keyed = {name: keys(frame) for name, frame in trips.items()}
    train = trips["train"]
    speed = (train["trip_distance"] / train["duration"] * 60).clip(1, 60)
    targets = [(key, "minutes", train["duration"]) for key in keyed["train"]]
    targets += [
        ("pair", "miles", train["trip_distance"].clip(0, 60)),
        ("pair", "speed", speed),
        ("hour", "speed", speed),
    ]
    fold = np.random.default_rng(SEED).integers(FOLDS, size=len(train))
    found = {}
    for name, frame in trips.items():
        moment, miles = frame["pickup_datetime"].dt, frame["trip_distance"]
        columns = {"minute_of_day": moment.hour * 60 + moment.minute, "day_of_week": moment.day_of_week}
        columns |= {
            zone: pd.Categorical(frame[zone], categories=range(1, 266)) for zone in ("PULocationID", "DOLocationID")
        }
        columns |= {"trip_distance": miles} if metered else {}
        for key, what, target in targets:
            learned, asked = keyed["train"][key].to_numpy(), keyed[name][key].to_numpy()
            if name != "train":
                means = smoothed(learned, target.to_numpy(), asked)
            else:
                means = np.empty(len(frame))
                for part in range(FOLDS):
                    out = fold == part
                    means[out] = smoothed(learned[~out], target.to_numpy()[~out], asked[out])
            columns[f"{key}_{what}"] = means
        found[name] = pd.DataFrame({column: np.asarray(values) if not isinstance(values, pd.Categorical) else values
                                    for column, values in columns.items()})  # fmt: skip
    return found


def keys(frame: pd.DataFrame) -> pd.DataFrame:
    """What means are taken by, whole numbers."""
    moment, pickup, dropoff = frame["pickup_datetime"].dt, frame["PULocationID"], frame["DOLocationID"]
    pair, hour = pickup.astype("int64") * 1000 + dropoff, moment.day_of_week * 24 + moment.hour
    part = moment.hour // 4 + 6 * (moment.day_of_week >= 5)
    return pd.DataFrame(
        {"pair": pair, "pickup": pickup, "dropoff": dropoff, "pair_part": pair * 100 + part, "hour": hour}
    )


def smoothed(learned: np.ndarray, target: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Mean of `target` by key, drawn to the mean of all; that mean itself for keys that were never seen."""
    every = target.mean()
    groups = pd.Series(target).groupby(learned)
    means = (groups.sum() + SMOOTHED * every) / (groups.count() + SMOOTHED)
    return means.reindex(asked).fillna(every).to_numpy()


if __name__ == "__main__":
    main()
