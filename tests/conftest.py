"""What several test files share: real months where there are any, and twelve trips written out by hand."""

import contextlib
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime import progress
from taxi.months.month import Month, file_name
from tests.support.project import REAL_MONTHS

# What a developer set for work of their own decides no test; a worker process of the tests reads this file, too.
for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def module_path() -> list[str]:
    """sys.path as the tests begin."""
    return list(sys.path)


@pytest.fixture(scope="session", autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory):
    """Where tests run: the checkout may hold a store of the developer's own, which MLflow takes when none is named."""
    with contextlib.chdir(tmp_path_factory.mktemp("empty")):
        yield


@pytest.fixture(autouse=True)
def as_before(module_path: list[str]):
    """Each test begins in this process as if it were the first, and leaves it so.

    A step leaves its run's id in the environment, handlers of signals, and whether progress is shown. MLflow puts the
    code inside a model it loads before all else on sys.path, where worker processes of a later test would find it.
    """
    variables, folder = dict(os.environ), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    sys.path[:] = module_path
    progress.show(True)
    yield
    sys.path[:] = module_path
    os.chdir(folder)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture
def nobodys_git_configuration(monkeypatch):
    """The machine's own git configuration decides no test."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(scope="session")
def tlc() -> Path:
    """The folder of real TLC months, green 2021-01, 2021-02 and 2023-01..03; skips where it is absent."""
    if not REAL_MONTHS.is_dir():
        pytest.skip(f"left out: check on real months, there is no folder {REAL_MONTHS}")
    return REAL_MONTHS


@pytest.fixture
def tiny_trips() -> pa.Table:
    """Twelve raw green trips of January 2023, of which seven are within 1 to 60 minutes and six of those in January."""
    rows = [
        # zones, miles, pickup, drop-off (day of January 2023 unless said)
        (74, 75, 1.2, "2023-01-02 08:00:00", "2023-01-02 08:09:00"),  # 9 minutes
        (74, 75, 1.4, "2023-01-02 17:30:00", "2023-01-02 17:42:30"),  # 12.5
        (75, 74, 1.3, "2023-01-03 09:00:00", "2023-01-03 09:01:00"),  # 1: the shortest kept
        (75, 166, 3.0, "2023-01-03 10:00:00", "2023-01-03 11:00:00"),  # 60: the longest kept
        (166, 74, 0.0, "2023-01-04 23:55:00", "2023-01-05 00:15:00"),  # 20, over midnight, meter stuck
        (166, 166, 0.7, "2023-01-31 23:59:59", "2023-02-01 00:05:59"),  # 6, over the end of the month
        (74, 166, 2.1, "2009-01-01 00:10:00", "2009-01-01 00:25:00"),  # 15, but of a clock never set
        (74, 75, 1.2, "2023-01-06 12:00:00", "2023-01-06 12:00:59"),  # 59 seconds
        (74, 75, 1.2, "2023-01-06 12:00:00", "2023-01-06 13:00:01"),  # an hour and a second
        (75, 75, 0.1, "2023-01-07 12:00:00", "2023-01-08 11:58:00"),  # most of a day
        (75, 74, 1.1, "2023-01-08 12:10:00", "2023-01-08 12:00:00"),  # back in time
        (74, None, 1.1, "2023-01-09 12:00:00", "2023-01-09 12:10:00"),  # to nowhere
    ]
    pickup_zone, dropoff_zone, distance, pickup, dropoff = zip(*rows, strict=True)
    return pa.table(
        {
            "VendorID": pa.array([2] * len(rows), pa.int64()),
            "lpep_pickup_datetime": pa.array([datetime.fromisoformat(text) for text in pickup], pa.timestamp("us")),
            "lpep_dropoff_datetime": pa.array([datetime.fromisoformat(text) for text in dropoff], pa.timestamp("us")),
            "PULocationID": pa.array(pickup_zone, pa.int64()),
            "DOLocationID": pa.array(dropoff_zone, pa.int64()),
            "trip_distance": pa.array(distance, pa.float64()),
            "passenger_count": pa.array([1.0] * len(rows), pa.float64()),
        }
    )


@pytest.fixture
def month_of(tmp_path: Path) -> Callable[..., Month]:
    """A function that writes a table, or any bytes, as a raw month and returns the `Month`."""

    def write(content: pa.Table | bytes, name: str = "2023-01", taxi: str = "green") -> Month:
        path = tmp_path / file_name(taxi, name)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        return Month(taxi, name, path, hashlib.sha256(path.read_bytes()).hexdigest(), str(path))

    return write


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty sqlite store, made once: the first use of a new one migrates for seconds, a copy takes none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A client of a store of the test's own, which MLflow's fluent calls use too; artifacts beside it."""
    import mlflow

    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    before = os.environ.get("MLFLOW_TRACKING_URI")  # which MLflow sets, too, where one was given
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    client.create_experiment("trips", artifact_location=(tmp_path / "artifacts").as_uri())
    yield client
    mlflow.set_tracking_uri(before)
