"""What ends a step: a signal, once, or the end of the `mlflow run` that started it."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from provenance.pipeline.shutdown import let_go
from tests.support.project import ROOT

STEP = """
    import os, signal, threading, time
    from provenance.pipeline.shutdown import handle_shutdown

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    handle_shutdown()
    try:
        print(os.getpid(), threading.active_count(), flush=True)
        time.sleep(60)
        print("slept", flush=True)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)  # as when the whole group is told, and the launcher is gone besides
        print("cleared up", flush=True)
"""
LAUNCHER = "import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1] + ' && true'])"


@pytest.fixture
def step(tmp_path) -> Path:
    path = tmp_path / "step.py"
    path.write_text(textwrap.dedent(STEP))
    return path


def begun(command: list[str], **variables: str) -> tuple[subprocess.Popen, int, int]:
    """A process whose step is up; the step's process id and its threads."""
    clean = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    environment = {**clean, "PYTHONPATH": str(ROOT), **variables}
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    pid, threads = map(int, started.stdout.readline().split())
    return started, pid, threads


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_clear_up_and_a_second_sigterm_does_not_disturb_it(step, word):
    """Else its run would stay RUNNING: the clearing up is what marks it."""
    started, pid, _ = begun([sys.executable, str(step)])
    os.kill(pid, word)
    assert started.communicate(timeout=30)[0] == "cleared up\n"


def test_two_signals_at_once_leave_no_noise(step):
    """Ctrl-C tells the whole group, and the step above tells its steps as well."""
    started, pid, _ = begun([sys.executable, str(step)])
    for word in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        os.kill(pid, word)
    assert started.communicate(timeout=30) == ("cleared up\n", "")


def test_what_was_interrupted_holds_no_lock(tmp_path):
    """Else the run's end could not be written, and no other step could read, for the 20 seconds that MLflow waits."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as store:
        store.execute("create table runs (id)")
        store.executemany("insert into runs values (?)", [(n,) for n in range(9)])

    def read() -> None:
        rows = sqlite3.connect(path).execute("select id from runs")
        next(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        read()
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("insert into runs values (9)")
    let_go(caught.value)
    other.execute("insert into runs values (9)")


def test_a_step_ends_with_the_mlflow_run_that_started_it(step):
    """Killed with -9, it cannot tell its step, which has a shell between."""
    command = [sys.executable, "-c", LAUNCHER, f"{sys.executable} {step}"]
    started, _, threads = begun(command, MLFLOW_RUN_ID="1")
    assert threads == 2
    started.kill()
    out, error = started.communicate(timeout=30)  # until the step, too, has let go of its output
    assert out == "cleared up\n"
    assert error == "the `mlflow run` that started this step is gone: the step ends, too\n"


def test_a_step_started_by_hand_outlives_its_terminal(step):
    """`nohup python -m steps.hpo &`: nobody watches whose child it is."""
    started, pid, threads = begun([sys.executable, str(step)])
    assert threads == 1
    os.kill(pid, signal.SIGTERM)
    started.communicate(timeout=30)
