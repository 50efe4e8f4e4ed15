"""What the chain is made of, as digests, under the numeric kernels that this process has: one JSON object on stdout.

`python -m tests.support.chain_digests sample:3000`
"""

import json
import math
import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path

from provenance.record.digest import digest_json, list_tree
from search.tpe import search
from search.trial import TrialResult
from taxi.dataset.dataset import Dataset, build
from taxi.evaluation.metrics import metrics
from taxi.features.fitting import FEATURE_SETS
from taxi.models.families import FAMILIES
from taxi.models.predictor import Predictor
from taxi.sources.locate import locate

MONTHS = ("2023-01", "2023-02", "2023-03")


def suggested(family: str) -> list[dict]:
    """What twenty trials try when the loss is a smooth function of the parameters."""

    def submit(number: int, params: dict) -> Future:
        loss = sum(math.sqrt(abs(float(value))) for value in params.values() if not isinstance(value, str))
        done: Future = Future()
        done.set_result(TrialResult(number, params, "ok", loss, {"val_rmse": loss}))
        return done

    return [result.params for result in search(FAMILIES[family].space(), submit, max_evals=20)]


def fitted(family: str, dataset: Dataset, folder: Path) -> tuple[str, float]:
    """(digest of the saved model, its validation RMSE)."""
    train, val = dataset.load("train"), dataset.load("val")
    chosen = FAMILIES[family]
    estimator = chosen.fit(train, val, chosen.default_params(dataset.manifest.feature_set), 42)
    Predictor("green", dataset.features, estimator).save(folder)
    return list_tree(folder).digest, metrics(val.y, estimator.predict(val.X), "val")["val_rmse"]


def main(source: str) -> dict[str, object]:
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        train, val, test = locate(source, "green", MONTHS, scratch=folder / "raw")
        found["months"] = digest_json([month.digest for month in (train, val, test)])
        for feature_set in ("full", "course"):
            (folder / feature_set).mkdir()
            build({"train": [train], "val": [val], "test": [test]}, FEATURE_SETS[feature_set], folder / feature_set)
            found[f"dataset {feature_set}"] = list_tree(folder / feature_set).digest
        for family, feature_set in (("xgboost", "full"), ("random_forest", "course"), ("linear", "full")):
            dataset = Dataset.open(folder / feature_set)
            digest, rmse = fitted(family, dataset, folder / family)
            found |= {
                f"model {family}": digest,
                f"rmse {family}": rmse,
                f"search {family}": digest_json(suggested(family)),
            }
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
