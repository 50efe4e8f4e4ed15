"""Heartbeats: which RUNNING runs still have a process behind them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import threading
import time
from functools import cache
from pathlib import Path
from types import TracebackType

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.record import names
from provenance.reuse.revoke import revoke_below
from provenance.store.paging import every
from provenance.store.project_identity import is_ours
from runtime.server_errors import stop_retrying

HEARTBEAT_SECONDS = 20
# On another machine only the beat can be seen; six missed ones, and clocks that differ by less than that.
SILENT_SECONDS = 150
# How long a run is waited for that lies where nobody is believed; a turn at the gate takes less.
STRANGER_SECONDS = 300
_PROCESS = re.compile("([0-9]{1,10})@[0-9]*")  # as process_name gives it
_TICKET = re.compile("[0-9]{1,12}")


@cache
def this_host() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text().strip() if boot.exists() else 'unknown'}"


def process_name(pid: int) -> str | None:
    """``<pid>@<start tick>``, unique on a host until it reboots; None when there is no such process (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else f"{pid}@{fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:  # no /proc (macOS): the pid alone
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return f"{pid}@"


def is_dead(client: MlflowClient, run: Run, now: float) -> bool:
    """Whether a RUNNING run has provably nobody left to end it. What cannot be read proves nothing.

    A run that says of no process belongs to its parent's: a trial, or a child whose step never came up.
    """
    passed = set()
    while names.PROCESS not in run.data.tags:
        passed.add(run.info.run_id)
        parent = run.data.tags.get(names.PARENT)
        if parent is None or parent in passed:
            return False
        try:
            run = client.get_run(parent)
        except MlflowException:  # unknown, or not to be read by this user
            return False
        if run.info.status != "RUNNING":
            return True
    if (pid := _process_here(run)) is not None:
        return process_name(pid) != run.data.tags[names.PROCESS]
    beat = _beat(run)
    return beat is not None and now - beat > SILENT_SECONDS


def _process_here(run: Run) -> int | None:
    """The process id behind a run of this host; None for another host, or when it is no process id."""
    match = _PROCESS.fullmatch(run.data.tags.get(names.PROCESS, ""))
    return int(match[1]) if match and run.data.tags.get(names.HOST) == this_host() else None


def _beat(run: Run) -> float | None:
    """When a run gave its last sign of life, in seconds since the epoch; None when that is no time."""
    try:
        beat = float(run.data.tags.get(names.HEARTBEAT, ""))
    except ValueError:
        return None
    return beat if math.isfinite(beat) else None


class SilenceWatch:
    """Whether runs that are looked at again and again have gone silent, by this machine's own clock.

    On another machine the beat is read off a clock that may have been set, either way: what counts is whether
    the beat changes, not what it says.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[str | None, float]] = {}  # run id -> its last beat, and when that was first seen

    def is_dead(self, run: Run) -> bool:
        tags, now = run.data.tags, time.monotonic()
        if names.PROCESS not in tags or _process_here(run) is not None:
            return is_dead(self._client, run, time.time())
        beat, since = self._seen.get(run.info.run_id, (None, now))
        if beat != tags.get(names.HEARTBEAT):
            beat, since = tags.get(names.HEARTBEAT), now
        self._seen[run.info.run_id] = beat, since
        return now - since > SILENT_SECONDS


def mark_dead_runs(client: MlflowClient, experiment_ids: list[str], project: str) -> list[str]:
    """Mark the runs of `project` that a dead process left RUNNING as KILLED; their ids.

    What the store refuses (another user's run, for one) stays as it is: no step fails for it.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{names.PROJECT}` = '{project}'"
    buried: list[str] = []
    try:
        running = list(every(client.search_runs, experiment_ids, query))
    except MlflowException:
        return buried
    for run in running:
        if is_ours(run, project) and is_dead(client, run, time.time()):
            with contextlib.suppress(MlflowException):
                client.set_terminated(run.info.run_id, "KILLED")
                buried.append(run.info.run_id)
                revoke_below(client, run, project)
    return buried


class Heartbeat:
    """While open, says every 20 s on the run's tags that its process lives."""

    def __init__(self, client: MlflowClient, run_id: str, project: str):
        self._client, self._run_id, self._project, self._stop = client, run_id, project, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def tags(self) -> dict[str, str]:
        """Whose run it is and the first beat, for the caller to write together with its other tags."""
        return {
            names.PROJECT: self._project,
            names.HOST: this_host(),
            names.PROCESS: process_name(os.getpid()) or f"{os.getpid()}@",
            names.HEARTBEAT: f"{time.time():.0f}",
        }

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._client.set_tag(self._run_id, names.HEARTBEAT, f"{time.time():.0f}")
            except MlflowException:
                continue  # a server that is away for a moment; the step itself will say so if it stays away

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        stop_retrying(error)


def _ticket(run: Run, tag: str) -> int | None:
    """The ticket that a run drew; None when what stands there is none."""
    text = run.data.tags.get(tag, "")
    return int(text) if _TICKET.fullmatch(text) else None
