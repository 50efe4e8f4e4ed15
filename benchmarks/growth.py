"""How time and peak memory grow with rows: preprocess, train, one trial, predict.

    python benchmarks/growth.py [--rows 100000 300000] [--rounds 10] [--plot growth.png] [--folder months]

Twelve months to train on, one of the same size to validate, made by the sample and put on the disk beforehand. Each
piece of work runs alone in a process of its own, without MLflow: building the dataset; fitting boosting for a fixed
number of rounds and scoring both splits, as `train` does; one trial in a worker process, as `hpo` does; predicting the
training months. Time is of the work, without imports; the peak is of all processes together. The slope is a straight
line through the origin of the largest size; the exponent is fitted to all sizes at or above a million rows, if there
are two. The published row is --rows 100000 1000000 10000000 36000000 --plot docs/growth.png.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench import PYTHON, ROOT, machine, ran

sys.path.insert(0, str(ROOT))
TRAIN = [f"2022-{number:02}" for number in range(1, 13)]
VAL = "2023-01"
ALL_TRIPS = 3_000_000_000  # of TLC since 2009, about
WORK = ("preprocess", "train", "one trial", "predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--folder", type=Path, help="keeps the months here, a folder for each size, for another time")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one[0], Path(given.one[1]), given.rounds)
        return
    print(machine("xgboost", "pyarrow"), flush=True)
    found: dict[str, list[tuple[int, float, float]]] = {work: [] for work in WORK}
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
            place = Path(scratch)
            months = (given.folder or place) / str(rows)
            make(months, rows // len(TRAIN))
            (place / "months").symlink_to(months.resolve())
            for work in WORK:
                command = [PYTHON, __file__, "--rounds", given.rounds, "--one", work, place]
                done = ran(command, place, look="", TMPDIR=str(place))
                seconds = float(done.stdout)
                found[work].append((rows, seconds, done.peak / 1e9))
                print(f"{work:<10} {rows:>11,} rows {seconds:8.2f} s  peak {done.peak / 1e9:6.3f} GB", flush=True)
    tell(found)
    if given.plot:
        draw(found, given.plot)


def make(folder: Path, rows: int) -> None:
    from taxi.city.sample import write_month
    from taxi.months.month import file_name

    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TRAIN, VAL):
        if not (folder / file_name("green", name)).exists():
            write_month(folder / file_name("green", name), "green", name, rows)


def one(work: str, place: Path, rounds: int) -> None:
    """Do one piece of work on the months in `place`, and print its seconds."""
    import xgboost  # noqa: F401

    from taxi.dataset.builder import build
    from taxi.dataset.dataset import Dataset
    from taxi.distributed.trial_engine import open_engine
    from taxi.evaluation.metrics import measured, metrics
    from taxi.features.fitting import FEATURE_SETS
    from taxi.models.families import FAMILIES, load
    from taxi.models.objective import Objective
    from taxi.sources.locate import locate

    family, dataset, model = FAMILIES["xgboost"], place / "dataset", place / "model"
    params = {"n_estimators": rounds, "early_stopping_rounds": 0}
    began = time.perf_counter()
    if work == "preprocess":
        months = locate(str(place / "months"), "green", [*TRAIN, VAL])
        build({"train": months[:-1], "val": months[-1:]}, FEATURE_SETS["full"], dataset)
    elif work == "train":
        opened_set = Dataset.open(dataset)
        train, val = (opened_set.split(split, scratch=place) for split in ("train", "val"))
        estimator = family.fit(train, val, family.parse(params), 42)
        train.memo.clear()
        for split in (train, val):
            metrics(*measured(estimator, split), "any")
        estimator.save(model)
    elif work == "one trial":
        objective = Objective("xgboost", "full", 42)
        with open_engine("local", objective, Dataset.open(dataset), "", 1) as engine:
            result = engine.submit(0, params).result()
        assert result.status == "ok", result
        trained = json.loads((model / "model.json").read_text())
        assert result.files["model.ubj"] == (model / "model.ubj").read_bytes(), trained
    else:
        measured(load("xgboost", model), Dataset.open(dataset).split("train"))
    print(time.perf_counter() - began)


def exponent(points: list[tuple[int, float]]) -> float | None:
    """b of seconds = a * rows ** b, least squares on logarithms."""
    import numpy as np

    large = [(rows, value) for rows, value in points if rows >= 1_000_000]
    if len(large) < 2:
        return None
    x, y = np.log(large).T
    return float(np.polyfit(x, y, 1)[0])


def tell(found: dict[str, list[tuple[int, float, float]]]) -> None:
    for work, points in found.items():
        rows, seconds, peak = points[-1]
        power = exponent([(rows, seconds) for rows, seconds, _ in points])
        grown = f"time ~ rows^{power:.2f}, " if power is not None else ""
        byte = (peak - points[0][2]) * 1e9 / max(rows - points[0][0], 1)
        hours, gigabytes = seconds / rows * ALL_TRIPS / 3600, points[0][2] + byte * ALL_TRIPS / 1e9
        print(
            f"{work:<10} {grown}{seconds / rows * 1e9:7.0f} ns and {byte:6.1f} bytes a row; "
            f"on paper {ALL_TRIPS / 1e9:.0f} billion rows: {hours:6.1f} h, {gigabytes:7.1f} GB"
        )


def draw(found: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    time_axes, memory_axes = figure.subplots(1, 2)
    for work, points in found.items():
        rows, seconds, peaks = zip(*points, strict=True)
        power = exponent(list(zip(rows, seconds, strict=True)))
        label = work if power is None else f"{work}: rows^{power:.2f}"
        time_axes.plot(rows, seconds, "o-", label=label)
        memory_axes.plot(rows, peaks, "o-", label=work)
    time_axes.set(title="Time", xlabel="rows", ylabel="seconds", xscale="log", yscale="log")
    memory_axes.set(title="Peak memory", xlabel="rows", ylabel="GB", xscale="log", ylim=(0, None))
    for axes in (time_axes, memory_axes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
