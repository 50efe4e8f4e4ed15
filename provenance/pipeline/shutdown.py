"""How a step ends early: by a signal, or because its launcher ended. Its run gets the status KILLED."""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import IO, Any

import click

from provenance.pipeline.invocation import launcher_pid

KEPT = "interrupted: what is finished, steps and trials, is kept\n Run it again to go on from there."


class Interrupted(click.ClickException):
    """A signal ended the step. The exit code is the one that shells use. A step without a message prints nothing."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message on stderr; nothing if there is none."""
        if self.message:
            with contextlib.suppress(OSError):  # the terminal is closed
                click.echo(self.message, err=True)


def handle_shutdown() -> None:
    """Let SIGTERM and the end of the launcher raise KeyboardInterrupt. Otherwise the run would stay RUNNING."""
    signal.signal(signal.SIGTERM, _interrupt)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a job in the background or under nohup ignores it
            signal.signal(number, _interrupt)
    if "MLFLOW_RUN_ID" in os.environ and hasattr(os, "pidfd_open"):  # started by `mlflow run`, on Linux
        with contextlib.suppress(OSError):  # there is no /proc, or the kernel lacks this call
            handle = os.pidfd_open(launcher_pid())
            threading.Thread(target=_end_with, args=[handle], daemon=True, name="launcher").start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt once. A second SIGTERM must not disturb the cleaning up, but a second Ctrl-C may."""
    # Not SIG_IGN: of a signal that came at the same time Python would print that it is "ignored due to race condition".
    signal.signal(signal.SIGTERM, _ignore)
    if signal.getsignal(signal.SIGHUP) is _interrupt:
        signal.signal(signal.SIGHUP, _ignore)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"
    )  # a server that does not answer must not delay the end
    # The database's connection pool would log a traceback if it was cut off just then; it drops that connection.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the step is ending already."""


def let_go(error: KeyboardInterrupt) -> None:
    """Release what the interrupted calls held, such as a cursor whose read locks a sqlite store for everybody."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__


def interrupted(run_id: str | None, by_launcher: int = 0) -> Interrupted:
    """Mark the run as KILLED, and return the exception that ends the process. MLflow had marked the run as FAILED.

    run_id: the run that `mlflow run` gave; None if the step was started by hand.
    by_launcher: the process id of that `mlflow run`; 0 if the step was started by hand.
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
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy."):  # MLflow does not wrap an error of opening the store
            raise
        return Interrupted(KEPT)
    if names.PARENT in run.data.tags:  # the step that started this one prints the message
        return Interrupted("")
    if by_launcher and os.getppid() == by_launcher:
        _mark_again(run_id, by_launcher)
    return Interrupted(KEPT)


def _mark_again(run_id: str, launcher: int) -> None:
    """Mark the run as KILLED again later: the launcher still lives and will mark it as FAILED."""
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
    """End this process when the launcher has ended. `launcher` is a file descriptor of that process (pidfd)."""
    select.select([launcher], [], [])
    if signal.getsignal(signal.SIGTERM) is _interrupt:  # this process is not ending yet
        print("the `mlflow run` that started this step is gone: the step ends, too", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
