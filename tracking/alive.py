"""Signs of life: which RUNNING runs still have a process behind them, and whose turn it is for a key."""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import threading
import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from tracking import names
from tracking.disowning import disown_below
from tracking.outage import give_up
from tracking.paging import every
from tracking.project_identity import is_ours
from tracking.wellformed import one_line

BEAT_SECONDS = 20
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
        beat = float(run.data.tags.get(names.BEAT, ""))
    except ValueError:
        return None
    return beat if math.isfinite(beat) else None


class Watch:
    """Whether runs that are looked at again and again have gone silent, by this machine's own clock.

    On another machine the beat is read off a clock that may have been set, either way: what counts is whether
    the beat changes, not what it says.
    """

    def __init__(self, client: MlflowClient):
        self._client, self._seen = client, {}

    def is_dead(self, run: Run) -> bool:
        tags, now = run.data.tags, time.monotonic()
        if names.PROCESS not in tags or _process_here(run) is not None:
            return is_dead(self._client, run, time.time())
        beat, since = self._seen.get(run.info.run_id, (None, now))
        if beat != tags.get(names.BEAT):
            beat, since = tags.get(names.BEAT), now
        self._seen[run.info.run_id] = beat, since
        return now - since > SILENT_SECONDS


def bury(client: MlflowClient, experiment_ids: list[str], project: str) -> list[str]:
    """Mark the runs of `project` that a dead process left RUNNING as KILLED; their ids.

    What the store refuses (another user's run, for one) stays as it is: no step fails for it.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{names.PROJECT}` = '{project}'"
    buried = []
    try:
        running = list(every(client.search_runs, experiment_ids, query))
    except MlflowException:
        return buried
    for run in running:
        if is_ours(run, project) and is_dead(client, run, time.time()):
            with contextlib.suppress(MlflowException):
                client.set_terminated(run.info.run_id, "KILLED")
                buried.append(run.info.run_id)
                disown_below(client, run, project)
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
            names.BEAT: f"{time.time():.0f}",
        }

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._client.set_tag(self._run_id, names.BEAT, f"{time.time():.0f}")
            except MlflowException:
                continue  # a server that is away for a moment; the step itself will say so if it stays away

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stop.set()
        give_up(error)


def wait_for_turn(
    client: MlflowClient,
    experiment_ids: list[str],
    run_id: str,
    key: str,
    say,
    project: str,
    poll_seconds: float = 1,
    tags: tuple[str, str] = (names.KEY, names.TICKET),
    what: str = "computes the same",
    believed: Collection[str] | None = None,
) -> None:
    """Return when no living run that came earlier is still computing `key`. `tags` are where key and ticket stand.

    Lamport's bakery over run tags: draw a ticket one above every ticket seen, then let lower tickets finish, so
    that of several runs with one key exactly one computes and the others find its outputs. Waited for are runs of
    `project` in the given experiments; of those outside the `believed` ones (None: all are) only for a while, as
    anybody could leave a run there that keeps everybody waiting.
    """

    def rivals() -> list[tuple[int, Run]]:
        query = f"attributes.status = 'RUNNING' and tags.`{key_tag}` = '{key}' and tags.`{names.PROJECT}` = '{project}'"
        found = [run for run in every(client.search_runs, experiment_ids, query) if run.info.run_id != run_id]
        drawn = [(_ticket(run, ticket_tag), run) for run in found if is_ours(run, project)]
        return [(ticket, run) for ticket, run in drawn if ticket is not None]

    def is_ahead(ticket: int, run: Run) -> bool:
        patient = believed is None or run.info.experiment_id in believed or time.monotonic() < deadline
        return (ticket, run.info.run_id) < (mine, run_id) and patient and not watch.is_dead(run)

    key_tag, ticket_tag = tags
    # Ticket 0 means "drawing": others wait until it is drawn, as they cannot know who is first.
    client.log_batch(run_id, tags=[RunTag(key_tag, key), RunTag(ticket_tag, "0"), RunTag(names.PROJECT, project)])
    mine = 1 + max((ticket for ticket, _ in rivals()), default=0)
    client.set_tag(run_id, ticket_tag, str(mine))
    said, watch, deadline = False, Watch(client), time.monotonic() + STRANGER_SECONDS
    while True:
        ahead = [run for ticket, run in rivals() if is_ahead(ticket, run)]
        if not ahead:
            return
        if not said:
            who = one_line(ahead[0].data.tags.get(names.USER, "unknown"))
            say(f"waiting for run {ahead[0].info.run_id} of {who:.100}, which {what}")
            said = True
        time.sleep(poll_seconds)


def _ticket(run: Run, tag: str) -> int | None:
    """The ticket that a run drew; None when what stands there is none."""
    text = run.data.tags.get(tag, "")
    return int(text) if _TICKET.fullmatch(text) else None
