"""How a step ends before its time: by a signal, or with whoever started it; its run marked, nothing left behind."""

import contextlib
import os
import select
import signal
import sys
import threading

from steps.launcher import launcher


def end_well() -> None:
    """From now on a SIGTERM unwinds like Ctrl-C, else the run stays RUNNING; and so does the launcher's end."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background jobs do not hear it
        signal.signal(signal.SIGINT, _interrupt)
    if "MLFLOW_RUN_ID" in os.environ and hasattr(os, "pidfd_open"):  # started by `mlflow run`, on Linux
        with contextlib.suppress(OSError):  # no /proc, or a kernel that cannot tell
            handle = os.pidfd_open(launcher())
            threading.Thread(target=_end_with, args=[handle], daemon=True, name="launcher").start()


def _interrupt(number: int, frame: object) -> None:
    """Once: a second SIGTERM, of whoever else ends this group, must not disturb the clearing up; Ctrl-C still may."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt


def _end_with(launcher: int) -> None:
    """End this process once the process behind that handle is gone: nobody waits for the step any more."""
    select.select([launcher], [], [])
    if signal.getsignal(signal.SIGTERM) is _interrupt:  # not ending already
        print("the `mlflow run` that started this step is gone: the step ends, too", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
