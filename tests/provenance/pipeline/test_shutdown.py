"""What ends a step: a signal, once, or the end of the `mlflow run` that started it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

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
