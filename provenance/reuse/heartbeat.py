"""Heartbeats: they show which RUNNING runs still have a process."""

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
# Of a run on another machine only the heartbeat is known. The run counts as dead after six missed heartbeats; the rest
# of the time allows for clocks that differ.
SILENT_SECONDS = 150
# How long to wait for a run in an experiment that is not trusted. One comparison at the gate takes less.
STRANGER_SECONDS = 300
JOIN_SECONDS = 2
_PROCESS = re.compile("([0-9]{1,10})@[0-9]*")  # as process_name gives it
_TICKET = re.compile("[0-9]{1,12}")


@cache
def this_host() -> str:
    """The name of this machine and the id of its current boot."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text().strip() if boot.exists() else 'unknown'}"


def process_name(pid: int) -> str | None:
    """``<pid>@<start tick>``, which is unique on a host until it reboots; None if there is no such live process.

    Without /proc the start tick is missing.
    """
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
    """Whether the process of a RUNNING run has ended. False if this cannot be found out.

    A run without a process of its own belongs to its parent's process: it is a trial, or a step that never started.

    now: seconds since the epoch.
    """
    passed = set()
    while names.PROCESS not in run.data.tags:
        passed.add(run.info.run_id)
        parent = run.data.tags.get(names.PARENT)
        if parent is None or parent in passed:
            return False
        try:
            run = client.get_run(parent)
        except MlflowException:  # the run does not exist, or this user may not read it
            return False
        if run.info.status != "RUNNING":
            return True
    if (pid := _process_here(run)) is not None:
        return process_name(pid) != run.data.tags[names.PROCESS]
    beat = _beat(run)
    return beat is not None and now - beat > SILENT_SECONDS


def died(client: MlflowClient, run: Run) -> bool:
    """Whether the process of a run ended without ending the run.

    `run` may be of some seconds ago: its process may have ended it since, and then itself.
    """
    if run.info.status != "RUNNING" or not is_dead(client, run, time.time()):
        return False
    run = client.get_run(run.info.run_id)
    return run.info.status == "RUNNING" and is_dead(client, run, time.time())


def _process_here(run: Run) -> int | None:
    """The process id of a run on this host; None for another host or a malformed process id."""
    match = _PROCESS.fullmatch(run.data.tags.get(names.PROCESS, ""))
    return int(match[1]) if match and run.data.tags.get(names.HOST) == this_host() else None


def _beat(run: Run) -> float | None:
    """The time of a run's last heartbeat, in seconds since the epoch; None if the tag is not a time."""
    try:
        beat = float(run.data.tags.get(names.HEARTBEAT, ""))
    except ValueError:
        return None
    return beat if math.isfinite(beat) else None


class SilenceWatch:
    """Tells whether runs that are checked repeatedly are dead, by the clock of this machine.

    The clock of another machine may be wrong. So for a run there it does not matter which time its heartbeat shows,
    only whether it changes.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[str | None, float]] = {}  # run id -> its last beat, and when that was first seen

    def is_dead(self, run: Run) -> bool:
        """Whether the process of `run` has ended, or its heartbeat has not changed for SILENT_SECONDS."""
        tags, now = run.data.tags, time.monotonic()
        if names.PROCESS not in tags or _process_here(run) is not None:
            return is_dead(self._client, run, time.time())
        beat, since = self._seen.get(run.info.run_id, (None, now))
        if beat != tags.get(names.HEARTBEAT):
            beat, since = tags.get(names.HEARTBEAT), now
        self._seen[run.info.run_id] = beat, since
        return now - since > SILENT_SECONDS


def mark_dead_runs(client: MlflowClient, experiment_ids: list[str], project: str) -> list[str]:
    """Mark RUNNING runs of `project` as KILLED if their process is dead. Returns their ids.

    If the store refuses to change a run, such as that of another user, the run stays as it is and nothing is raised.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{names.PROJECT}` = '{project}'"
    buried: list[str] = []
    try:
        running = list(every(client.search_runs, experiment_ids, query))
    except MlflowException:
        return buried
    for run in running:
        with contextlib.suppress(MlflowException):
            if is_ours(run, project) and died(client, run):
                client.set_terminated(run.info.run_id, "KILLED")
                buried.append(run.info.run_id)
                revoke_below(client, run, project)
    return buried


class Heartbeat:
    """While it is open, it writes a heartbeat to the run's tags every 20 seconds."""

    def __init__(self, client: MlflowClient, run_id: str, project: str):
        self._client, self._run_id, self._project, self._stop = client, run_id, project, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def tags(self) -> dict[str, str]:
        """The tags of project, host and process and the first heartbeat. The caller writes them with its other tags."""
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
                continue  # if the server stays unavailable, the step itself fails with a message

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=JOIN_SECONDS)  # a heartbeat that is being written now shall not be the last tag
        stop_retrying(error)


def _ticket(run: Run, tag: str) -> int | None:
    """The ticket of a run in the tag `tag`; None if the tag is not a ticket."""
    text = run.data.tags.get(tag, "")
    return int(text) if _TICKET.fullmatch(text) else None
