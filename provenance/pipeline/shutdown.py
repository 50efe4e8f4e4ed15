"""How a step ends early: by a signal, or because its launcher ended. Its run is KILLED and nothing is left behind."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO, Any

import click

from provenance.pipeline.invocation import launcher_pid

KEPT = "interrupted: what is finished, steps and trials, is kept\n Run it again to go on from there."


class Interrupted(click.ClickException):
    """A signal's end, by the exit code that shells give it; silent in a step that another one started."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: IO[Any] | None = None) -> None:
        if self.message:
            with contextlib.suppress(OSError):  # a terminal that is gone
                click.echo(self.message, err=True)


def handle_shutdown() -> None:
    """From now on SIGTERM, and the end of the launcher, raise KeyboardInterrupt: else the run would stay RUNNING."""
    signal.signal(signal.SIGTERM, _interrupt)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background jobs, and those of nohup, ignore it
            signal.signal(number, _interrupt)
    if "MLFLOW_RUN_ID" in os.environ and hasattr(os, "pidfd_open"):  # started by `mlflow run`, on Linux
        with contextlib.suppress(OSError):  # no /proc, or a kernel that cannot tell
            handle = os.pidfd_open(launcher_pid())
            threading.Thread(target=_end_with, args=[handle], daemon=True, name="launcher").start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise once: a second SIGTERM, sent to the whole group, must not disturb the clearing up; Ctrl-C still may."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if signal.getsignal(signal.SIGHUP) is _interrupt:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away must not hold this up
    raise KeyboardInterrupt


def interrupted(run_id: str | None, by_launcher: int = 0) -> Interrupted:
    """Mark the run as killed, which MLflow has marked as failed on the way here; what to end the process with.

    run_id: as `mlflow run` gave it, whose process is `by_launcher`; None and 0 in a step that was started by hand.
    """
    from mlflow import MlflowClient, last_active_run
    from mlflow.exceptions import MlflowException

    from provenance.record import names

    if run_id is None and (last := last_active_run()):  # a step that was started by hand
        run_id = last.info.run_id
    if run_id is None:
        return Interrupted("interrupted")
    try:
        client = MlflowClient()
        run = client.get_run(run_id)
        if run.info.status != "FINISHED":
            client.set_terminated(run_id, "KILLED")
    except (MlflowException, OSError):
        return Interrupted(KEPT)
    if names.PARENT in run.data.tags:  # the step that started this one says and marks it
        return Interrupted("")
    if by_launcher and os.getppid() == by_launcher:
        _mark_again(run_id, by_launcher)
    return Interrupted(KEPT)


def _mark_again(run_id: str, launcher: int) -> None:
    """After the launcher, which lives and will call the run failed."""
    command = [sys.executable, "-m", "provenance.pipeline.mark_killed", run_id, str(launcher)]
    nothing = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
        )


def _end_with(launcher: int) -> None:
    """End this process once the process behind that handle is gone: nobody waits for the step any more."""
    select.select([launcher], [], [])
    if signal.getsignal(signal.SIGTERM) is _interrupt:  # not ending already
        print("the `mlflow run` that started this step is gone: the step ends, too", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
