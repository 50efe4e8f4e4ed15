"""One boosting fit by one process, and the same fit shared by more of them.

    python benchmarks/shared_fit.py [--source sample:200000] [--train 2023-01 --val 2023-02] [--members 2 3]

Prints for each number its validation RMSE and the seconds of the whole fit, opening the data included, processes warm;
medians of `--runs`, in turn. The models of one number are compared to the byte.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="sample:200000")
    parser.add_argument("--train", default="2023-01")
    parser.add_argument("--val", default="2023-02")
    parser.add_argument("--members", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = make(given, Path(folder, "months"), Path(folder, "dataset"))
        name = given.source if "/" not in given.source else "TLC"
        print(f"{name} {given.train} / {given.val}, {rows[0]:,} / {rows[1]:,} trips; medians of {given.runs}")
        found = {members: [] for members in (1, *given.members)}
        for _ in range(given.runs + 1):  # the first warms up
            for members, runs in found.items():
                runs.append(fitted(Path(folder, "dataset"), members))
    for members, runs in found.items():
        assert len({digest for _, _, digest in runs}) == 1
        seconds = statistics.median(seconds for seconds, _, _ in runs[1:])
        print(f"  {members} member{'s' if members > 1 else ' '}  val_rmse {runs[0][1]:.4f} min  {seconds:7.2f} s")


def make(given, scratch: Path, folder: Path) -> tuple[int, int]:
    """The dataset, and its rows of train and val."""
    from taxi.dataset.builder import build
    from taxi.features.fitting import FEATURE_SETS
    from taxi.sources.locate import locate

    scratch.mkdir()
    train, val = locate(given.source, "green", [given.train, given.val], scratch=scratch)
    manifest = build({"train": [train], "val": [val]}, FEATURE_SETS["full"], folder)
    return manifest.rows("train"), manifest.rows("val")


def fitted(folder: Path, members: int) -> tuple[float, float, str]:
    """Seconds, validation RMSE in minutes, digest of the model."""
    from runtime.files import sha256_file
    from search.trial import estimator_folder, files_digest, saved_files
    from taxi.dataset.dataset import Dataset
    from taxi.dataset.manifest import MANIFEST
    from taxi.distributed.shared_fit import Member, fit_shared
    from taxi.evaluation.metrics import measured, metrics
    from taxi.models.boosting import BoostingParams
    from taxi.models.families import FAMILIES, load

    began = time.perf_counter()
    if members == 1:
        dataset = Dataset.open(folder)
        estimator = FAMILIES["xgboost"].fit(dataset.split("train"), dataset.split("val"), BoostingParams(), 42)
    else:
        member = Member(str(folder), sha256_file(folder / MANIFEST), BoostingParams(), 42, members)
        with estimator_folder(fit_shared("local", member)) as place:
            estimator = load("xgboost", place)
    seconds = time.perf_counter() - began
    scores = metrics(*measured(estimator, Dataset.open(folder).split("val")), "val")
    return seconds, scores["val_rmse"], files_digest(saved_files(estimator))


if __name__ == "__main__":
    main()
