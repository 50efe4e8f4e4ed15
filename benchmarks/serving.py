"""Requests a second of the served model, against a bare booster behind the same server.

    python benchmarks/serving.py          # needs wrk (apt-get install wrk)

Both are `mlflow models serve` on loopback, one worker each, asked for one trip a request by the same wrk, alternating.
The processor's time a request is told as well: it hardly depends on what else the machine does.
The bare booster is a pyfunc model of the same trees that is given the features already computed, and gives minutes
alone: what is measured is all that raw trips, their features and the intervals cost.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import ROOT

sys.path.insert(0, str(ROOT))
BAR = 0.95
TRIP = {"PULocationID": 74, "DOLocationID": 75, "trip_distance": 1.2, "lpep_pickup_datetime": "2023-04-03T08:15:00"}
BARE = """
import mlflow
import pandas as pd
import xgboost as xgb


class Bare(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.booster = xgb.Booster(params={"nthread": 1}, model_file=context.artifacts["booster"])
        self.booster.set_param({"nthread": 1})

    def predict(self, context, model_input, params=None):
        return pd.DataFrame({"duration": self.booster.inplace_predict(model_input.to_numpy(), validate_features=False)})


mlflow.models.set_model(Bare())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=2)
    given = parser.parse_args()
    if not shutil.which("wrk"):
        print("left out: wrk is not here (apt-get install wrk)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = logged(folder)
        servers = {which: serve(folder, uri) for which, (uri, _) in models.items()}
        try:
            asked = {which: script(folder, which, body) for which, (_, body) in models.items()}
            for which, (_, url) in servers.items():
                load(url, asked[which], 2, given.connections)  # warm
            rates: dict[str, list[float]] = {which: [] for which in models}
            costs: dict[str, list[float]] = {which: [] for which in models}
            for _ in range(given.rounds):
                for which, (process, url) in servers.items():
                    before = cpu_seconds(process)
                    rate = load(url, asked[which], given.seconds, given.connections)
                    rates[which].append(rate)
                    costs[which].append((cpu_seconds(process) - before) / (rate * given.seconds) * 1000)
        finally:
            for process, _ in servers.values():
                os.killpg(process.pid, signal.SIGTERM)
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, one trip a request, "
          f"{given.connections} connections, {given.rounds} rounds of {given.seconds} s")  # fmt: skip
    for which, found in rates.items():
        print(f"{which:22} median {statistics.median(found):7.1f} requests/s  ({min(found):.1f} .. {max(found):.1f})"
              f"  {statistics.median(costs[which]):.3f} ms of processor time a request")  # fmt: skip
    ours, bare = "served model", "bare booster"
    print(f"ratio of medians       {statistics.median(rates[ours]) / statistics.median(rates[bare]):.3f}  (bar: {BAR})")
    print(f"ratio by processor     {statistics.median(costs[bare]) / statistics.median(costs[ours]):.3f}")
    print(f"load average {os.getloadavg()[0]:.1f} (above 2 on 2 cores the requests a second say little)")


def logged(folder: Path) -> dict[str, tuple[str, dict]]:
    """Both models in a store of their own: name -> (URI, the JSON of one trip)."""
    import mlflow
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature

    from steps.models import logged_model
    from taxi.dataset.builder import build
    from taxi.dataset.dataset import Dataset
    from taxi.features.fitting import FEATURE_SETS
    from taxi.models.families import FAMILIES
    from taxi.models.intervals import Intervals
    from taxi.models.predictor import Predictor
    from taxi.sources.locate import locate

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    os.chdir(folder)
    months = {month.name: month for month in locate("sample", "green", ["2023-01", "2023-02"], scratch=folder)}
    (folder / "dataset").mkdir()
    build({"train": [months["2023-01"]], "val": [months["2023-02"]]}, FEATURE_SETS["full"], folder / "dataset")
    dataset = Dataset.open(folder / "dataset")
    train, val = dataset.load("train"), dataset.load("val")
    family = FAMILIES["xgboost"]
    estimator = family.fit(train, val, family.default_params("full"), 42)
    predictor = Predictor("green", dataset.features, estimator, Intervals.learn(val.y, estimator.predict(val.X)))
    frame = pd.DataFrame([TRIP]).astype({"lpep_pickup_datetime": "datetime64[ns]"})
    renamed = frame.rename(columns={"lpep_pickup_datetime": "pickup_datetime"})
    columns = dataset.features.transform_frame(renamed)
    features = pd.DataFrame({name: values.astype(np.float32) for name, values in columns.items()})

    (folder / "bare.py").write_text(BARE)
    estimator.booster.save_model(folder / "booster.ubj")
    with mlflow.start_run() as run:
        ours, _ = logged_model.log(predictor, run.info.run_id, "ours", {}, {}, {})
        bare = mlflow.pyfunc.log_model(
            name="bare",
            python_model=str(folder / "bare.py"),
            artifacts={"booster": str(folder / "booster.ubj")},
            pip_requirements=logged_model.source("xgboost").pins,
            signature=infer_signature(features, pd.DataFrame({"duration": [1.0]})),
        )
    split = {"columns": list(features), "data": features.astype(float).to_numpy().tolist()}
    return {
        "served model": (f"models:/{ours}", {"dataframe_split": {"columns": list(TRIP), "data": [[*TRIP.values()]]}}),
        "bare booster": (bare.model_uri, {"dataframe_split": split}),
    }


def serve(folder: Path, uri: str) -> tuple[subprocess.Popen, str]:
    """A server of `uri`, once it answers, and where."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [Path(sys.executable).parent / "mlflow", "models", "serve", "-m", uri, "-p", str(port), "-w", "1"]
    process = subprocess.Popen(
        [*command, "--env-manager", "local"],
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/ping", timeout=5)
            return process, f"{url}/invocations"
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{uri} did not come up")


def cpu_seconds(server: subprocess.Popen) -> float:
    """User and system time of every process of the server."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # gone
            continue
        if int(fields[3]) == server.pid:  # its session
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def script(folder: Path, which: str, body: dict) -> Path:
    """What wrk sends."""
    path = folder / f"{which.split()[0]}.lua"
    path.write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
                    f"wrk.body = '{json.dumps(body)}'\n")  # fmt: skip
    return path


def load(url: str, asked: Path, seconds: int, connections: int) -> float:
    """Requests a second; every answer must be a 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(asked), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


if __name__ == "__main__":
    main()
