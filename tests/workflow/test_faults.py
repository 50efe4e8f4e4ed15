"""A disk that fills up or may not be written, under each step: one clear error, and a plain re-run is as ever."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.util import get_temp_dir
from pathlib import Path

import mlflow
import pytest
from click.testing import Result
from mlflow import MlflowClient

from tests.support.disk import Disk, small_disk
from tests.support.step_chain import Chain

STEPS = ["preprocess", *(pytest.param(step, marks=pytest.mark.slow) for step in ("train", "hpo", "register"))]
MEGABYTES = 40  # more than the chain leaves behind


@dataclass(frozen=True)
class DiskChain(Chain):
    """Its artifacts and temporary files on one small disk."""

    disk: Disk

    def said(self, failed: Result) -> str:
        """The same with what helps; no run goes on."""
        said = super().said(failed)
        assert "\n" in said.strip(), said
        assert not self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        return said.lower()

    def is_as_ever(self, step: str, result: Result) -> None:
        assert "reused run" not in result.stderr.replace(": reused run", "")
        super().is_as_ever(step, result)


@pytest.fixture(scope="module")
def chain(tmp_path_factory, migrated_store) -> Iterator[DiskChain]:
    folder, patch = tmp_path_factory.mktemp("chain"), pytest.MonkeyPatch()
    shutil.copy(migrated_store, folder / "mlflow.db")
    store, before = f"sqlite:///{folder}/mlflow.db", mlflow.get_tracking_uri()
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk", MEGABYTES))
        stack.callback(patch.undo)
        stack.callback(mlflow.set_tracking_uri, before)
        (disk.path / "tmp").mkdir()
        get_temp_dir()  # multiprocessing's own, which lives longer than this disk
        patch.setattr(tempfile, "tempdir", str(disk.path / "tmp"))
        for name, value in {"TMPDIR": str(disk.path / "tmp"), "MLFLOW_TRACKING_URI": store,
                            "MLFLOW_EXPERIMENT_NAME": "trips", "PYTHONWARNINGS": "ignore"}.items():  # fmt: skip
            patch.setenv(name, value)
        mlflow.set_tracking_uri(store)
        made = DiskChain(MlflowClient(store), "1", disk)
        made.client.create_experiment("trips", artifact_location=(disk.path / "artifacts").as_uri())
        yield made


@pytest.mark.parametrize("step", STEPS)
def test_a_disk_that_fills_up_is_said_and_survived(chain, step):
    """With less and less taken a step gets further each time, until it is through."""
    chain.forget(step)
    failures = 0
    for leaving in (0, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192):
        with chain.disk.filled(leaving):
            result = chain.run(step)
        if result.exit_code == 0:
            break
        assert "no space left" in chain.said(result) or "out of diskspace" in chain.said(result)
        failures += 1
    chain.is_as_ever(step, result)
    assert failures >= 4


@pytest.mark.parametrize("step", STEPS)
def test_a_read_only_disk_is_said_and_survived(chain, step):
    """The artifacts' folder and the temporary one; whoever runs this is root, whom permissions would not stop."""
    chain.forget(step)
    with chain.disk.read_only():
        result = chain.run(step)
    assert "read-only" in chain.said(result)
    chain.is_as_ever(step, chain.run(step))


@pytest.mark.parametrize("step", STEPS)
def test_read_only_artifacts_are_said_and_survived(chain, step, tmp_path, monkeypatch):
    """What is temporary goes elsewhere: the step comes as far as what it keeps."""
    chain.forget(step)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with chain.disk.read_only():
        result = chain.run(step)
    assert "read-only" in chain.said(result)
    chain.is_as_ever(step, chain.run(step))


@contextlib.contextmanager
def killing(most: int) -> Iterator[list[int]]:
    """Meanwhile each worker process of this process's searches is killed as soon as it is there, so many at most."""
    from multiprocessing.forkserver import _forkserver

    killed, over = [], threading.Event()

    def kill() -> None:
        while not over.wait(0.001):
            for pid in children(_forkserver._forkserver_pid):
                if pid not in killed and len(killed) < most:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def children(parent: int | None) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(chain):
    """Two of a search's workers are killed: their trials are run by others, and nobody sees it in the end."""
    chain.forget("hpo")
    with killing(2) as killed:
        result = chain.run("hpo")
    assert len(killed) == 2
    chain.is_as_ever("hpo", result)


@pytest.mark.slow
def test_workers_that_are_killed_each_time_are_said_and_survived(chain):
    """As when memory is too small: no trial fails for it, the search ends, and goes on when there is more."""
    chain.forget("hpo")
    with killing(1000):
        result = chain.run("hpo")
    assert "its worker was killed 3 times" in chain.said(result)
    chain.is_as_ever("hpo", chain.run("hpo"))
