"""The course's way from raw months to a registered model, one process a step: see README.md beside this file.

    python contender.py prepare FOLDER | baseline | search [--trials 15] | register

Each step works in the current folder: matrices in prepared/, runs in the store mlflow.db.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

STORE = "sqlite:///mlflow.db"
PREPARED = Path("prepared")
SPLITS = {"train": "2023-01", "val": "2023-02", "test": "2023-03"}
# Of the forest: each parameter's lowest and highest value, all of them whole numbers.
SPACE = {"max_depth": (1, 20), "n_estimators": (10, 50), "min_samples_split": (2, 10), "min_samples_leaf": (1, 4)}
SEED = 42
CANDIDATES = 5


@click.group(help=__doc__)
def contender() -> None:
    pass


@contender.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def prepare(folder: Path) -> None:
    """Raw months -> one pickle a split: a sparse matrix of pairs of zones and the distance, minutes."""
    prepare_months(folder, PREPARED)


def prepare_months(folder: Path, out: Path) -> None:
    from sklearn.feature_extraction import DictVectorizer

    out.mkdir(exist_ok=True)
    vectorizer = DictVectorizer()
    for split, month in SPLITS.items():
        trips, minutes = read_trips(folder / f"green_tripdata_{month}.parquet")
        X = vectorizer.fit_transform(trips) if split == "train" else vectorizer.transform(trips)
        (out / f"{split}.pickle").write_bytes(pickle.dumps((X, minutes)))
    (out / "vectorizer.pickle").write_bytes(pickle.dumps(vectorizer))


def read_trips(path: Path) -> tuple[list[dict], np.ndarray]:
    """A dictionary for each trip of 1 to 60 minutes, and its minutes, float64 of shape (n_trips,)."""
    import pandas as pd

    raw = pd.read_parquet(path)
    taken = raw["lpep_dropoff_datetime"] - raw["lpep_pickup_datetime"]
    raw["minutes"] = [delta.total_seconds() / 60 for delta in taken]
    kept = raw[raw["minutes"].between(1, 60)]
    pair = kept["PULocationID"].astype(str) + "_" + kept["DOLocationID"].astype(str)
    features = pd.DataFrame({"PU_DO": pair, "trip_distance": kept["trip_distance"]})
    return features.to_dict(orient="records"), kept["minutes"].to_numpy()


def prepared(split: str) -> tuple:
    """(X, minutes) of a split, from the pickle that `prepare` left."""
    return pickle.loads((PREPARED / f"{split}.pickle").read_bytes())  # noqa: S301 - its own


def tracked(experiment: str, autolog: bool = False):
    """MLflow, its runs going into `experiment` of the store in this folder."""
    import mlflow

    mlflow.set_tracking_uri(STORE)
    mlflow.set_experiment(experiment)
    if autolog:
        mlflow.sklearn.autolog()
    return mlflow


def fitted(**params):
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(**params).fit(*prepared("train"))


def rmse(model, split: str) -> float:
    """Root mean squared error in minutes."""
    from sklearn.metrics import root_mean_squared_error

    X, minutes = prepared(split)
    return root_mean_squared_error(minutes, model.predict(X))


@contender.command()
def baseline() -> None:
    """One forest of depth 10, everything about it logged by MLflow itself."""
    mlflow = tracked("baseline", autolog=True)
    with mlflow.start_run():
        mlflow.log_metric("rmse", rmse(fitted(max_depth=10, random_state=0), "val"))


@contender.command()
@click.option("--trials", default=15, show_default=True, help="Trials of the search.")
def search(trials: int) -> None:
    """TPE over forests on one core; each trial's parameters and validation RMSE are a run."""
    import numpy as np
    from hyperopt import fmin, hp, tpe
    from hyperopt.pyll import scope

    mlflow = tracked("search")
    data = prepared("train"), prepared("val")  # read once for all trials

    def trial(params: dict) -> float:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.metrics import root_mean_squared_error

        (X, minutes), (X_val, val_minutes) = data
        with mlflow.start_run():
            mlflow.log_params(params)
            loss = root_mean_squared_error(val_minutes, RandomForestRegressor(**params).fit(X, minutes).predict(X_val))
            mlflow.log_metric("rmse", loss)
        return loss

    space = {name: scope.int(hp.quniform(name, low, high, 1)) for name, (low, high) in SPACE.items()}
    rng = np.random.default_rng(SEED)
    fmin(trial, {**space, "random_state": SEED}, algo=tpe.suggest, max_evals=trials, rstate=rng)


@contender.command()
def register() -> None:
    """The best trials by validation fitted again; the one with the lowest test RMSE becomes a version."""
    mlflow = tracked("candidates", autolog=True)
    client = mlflow.MlflowClient()
    best = client.search_runs(
        [client.get_experiment_by_name("search").experiment_id], order_by=["metrics.rmse ASC"], max_results=CANDIDATES
    )
    judged = {}
    for found in best:
        with mlflow.start_run() as run:
            model = fitted(**{name: int(value) for name, value in found.data.params.items()})
            mlflow.log_metric("val_rmse", rmse(model, "val"))
            judged[run.info.run_id] = rmse(model, "test")
            mlflow.log_metric("test_rmse", judged[run.info.run_id])
    winner = min(judged, key=judged.get)
    mlflow.register_model(f"runs:/{winner}/model", "contender")
    print(f"test_rmse {judged[winner]:.4f}")


if __name__ == "__main__":
    contender()
