"""What `-e refresh` does when months appear one by one in a mirror of TLC's site: decision, figures, seconds.

    python benchmarks/refresh.py [--trials 3] [--retrain-above 5] [--months ../shared/tlc]

The champion is of 2021: trained on January, chosen on February, judged on March. Of 2021 only January and February lie
beside the project, so February is halved by days, and its second half, four weeks later, stands in for March: the same
trips on the same weekdays. Then green 2023-01..03 appear, the first of them cut off at first, and `refresh` runs after
each as a scheduler would start it. Without the real months the sample stands in: then the times alone say something.
"""

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import LAUNCHER, PYTHON, ROOT, TLC, machine, ran

CHAMPION = {"train_months": "2021-01", "val_months": "2021-02", "test_months": "2021-03"}
LATER = ("2023-01", "2023-02", "2023-03")
NAME = "nyc-taxi-duration"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--retrain-above", type=float, default=5)
    parser.add_argument("--months", type=Path, default=TLC)
    given = parser.parse_args()
    print(machine("mlflow", "xgboost"), flush=True)
    with tempfile.TemporaryDirectory(prefix="refresh-") as folder:
        place, months = Path(folder), given.months.resolve()
        if not months.is_dir():
            months = sample(place / "months")
            print("no real months: the sample of 20,000 rows a month stands in")
        site = place / "site"
        site.mkdir()
        published_2021(months, site)
        with mirror(site) as url:
            run(place, url, "main", max_evals=given.trials, **CHAMPION)
            print(f"champion: version 1, of {CHAMPION}: registered_test_rmse {rmse(place, '1'):.3f} min", flush=True)
            print("| in the mirror | decided | champion on the new months | window | gate | |\n" + "| --- " * 6 + "|")
            whole = (months / file(LATER[0])).read_bytes()
            (site / file(LATER[0])).write_bytes(whole[: len(whole) // 2])
            step(place, url, f"{LATER[0]}, cut off", given)
            for month in LATER:
                shutil.copy(months / file(month), site)
                step(place, url, month, given)
            step(place, url, "nothing more", given)


def step(place: Path, url: str, what: str, given: argparse.Namespace) -> None:
    """Run `refresh`, and print a row of what it did."""
    done = run(place, url, "refresh", retrain_above=given.retrain_above)
    [run_id] = re.findall(r"(?m)^run (\w{32})$", done.stdout)[-1:] or [""]
    if not run_id:
        print(f"| {what} | nothing to do: no run | | | | {done.seconds:.0f} s |", flush=True)
        return
    facts = json.loads(artifact(place, run_id, "decision.json"))
    drift, made = facts["drift"], facts["retrained"]
    metrics = drift["metrics"]
    before, now = (f"{metrics[name]:.3f}" for name in ("registered_test_rmse", "new_rmse"))
    risen = f"{metrics['rmse_change_percent']:+.1f} % ({before} to {now} min)"
    window = re.findall(r"(?m)^window: (.*)$", done.stdout)
    gate = f"version {made['version']} {made['became']}: {made['why']}" if made else ""
    print(f"| {what} | {facts['decision']} | {risen} | {''.join(window)} | {gate} | {done.seconds:.0f} s |", flush=True)


def run(place: Path, url: str, entry_point: str, **params: object):
    """`mlflow run`, from and into a folder of its own, with the mirror in place of TLC's site."""
    words = [word for name, value in params.items() for word in ("-P", f"{name}={value}")]
    command = [LAUNCHER, "run", ROOT, "-e", entry_point, "--env-manager", "local", "-P", "source=tlc", *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    kept["PATH"] = os.pathsep.join([str(LAUNCHER.parent), kept.get("PATH", os.defpath)])
    return ran(command, place, shell=kept, TLC_BASE_URL=url, XDG_CACHE_HOME=str(place / "cache"), NO_PROXY="127.0.0.1")


def artifact(place: Path, run_id: str, name: str) -> str:
    code = "import sys, mlflow; print(mlflow.artifacts.load_text(f'runs:/{sys.argv[1]}/{sys.argv[2]}'))"
    return ran([PYTHON, "-c", code, run_id, name], place, MLFLOW_TRACKING_URI=f"sqlite:///{place}/mlflow.db").stdout


def rmse(place: Path, version: str) -> float:
    """The test RMSE of a version as it was registered, in minutes."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{place}/mlflow.db"
    return float(MlflowClient(uri, registry_uri=uri).get_model_version(NAME, version).tags["registered_test_rmse"])


def file(month: str) -> str:
    return f"green_tripdata_{month}.parquet"


def published_2021(months: Path, site: Path) -> None:
    """January as it is; February's first half; its second half, 28 days later, as March."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    shutil.copy(months / file("2021-01"), site)
    trips = pq.read_table(months / file("2021-02"))
    half = pa.scalar(1_613_347_200_000_000, pa.int64()).cast(pa.timestamp("us"))  # 2021-02-15
    first = pc.less(trips["lpep_pickup_datetime"].cast(pa.timestamp("us")), half)
    pq.write_table(trips.filter(first), site / file("2021-02"))
    later = trips.filter(pc.invert(first))
    for name in ("lpep_pickup_datetime", "lpep_dropoff_datetime"):
        moved = pc.add(later[name], pa.scalar(28 * 86_400_000_000, pa.duration("us")))
        later = later.set_column(later.schema.get_field_index(name), name, moved)
    pq.write_table(later, site / file("2021-03"))


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """The URL of a web server on loopback that has the files of `folder`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def sample(folder: Path) -> Path:
    import sys

    sys.path.insert(0, str(ROOT))
    from taxi.city.sample import write_month

    folder.mkdir()
    for month in ("2021-01", "2021-02", *LATER):
        write_month(folder / file(month), "green", month, 20_000)
    return folder


if __name__ == "__main__":
    main()
