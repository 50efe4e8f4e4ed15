"""Signs of life: which RUNNING runs still have a process behind them, and whose turn it is for a key."""

from __future__ import annotations

import os
import socket
import threading
import time
from functools import cache
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from tracking import names
from tracking.disowning import disown_below
from tracking.outage import give_up

BEAT_SECONDS = 20
# On another machine only the beat can be seen; six missed ones, and clocks that differ by less than that.
SILENT_SECONDS = 150
# A run that `mlflow run` made and whose step never came up (an environment build takes minutes, not an hour).
STILLBORN_SECONDS = 3600


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
    """Whether a RUNNING run has nobody left to end it."""
    tags = run.data.tags
    if names.PROCESS in tags:
        if tags.get(names.HOST) == this_host():
            return process_name(int(tags[names.PROCESS].split("@")[0])) != tags[names.PROCESS]
        return now - float(tags.get(names.BEAT, 0)) > SILENT_SECONDS
    if parent := tags.get(names.PARENT):
        parent_run = client.get_run(parent)
        return parent_run.info.status != "RUNNING" or is_dead(client, parent_run, now)
    return now - run.info.start_time / 1000 > STILLBORN_SECONDS


class Watch:
    """Whether runs that are looked at again and again have gone silent, by this machine's own clock.

    On another machine the beat is read off a clock that may have been set, either way: what counts is whether
    the beat changes, not what it says.
    """

    def __init__(self, client: MlflowClient):
        self._client, self._seen = client, {}

    def is_dead(self, run: Run) -> bool:
        tags, now = run.data.tags, time.monotonic()
        if names.PROCESS not in tags or tags.get(names.HOST) == this_host():
            return is_dead(self._client, run, time.time())
        beat, since = self._seen.get(run.info.run_id, (None, now))
        if beat != tags.get(names.BEAT):
            beat, since = tags.get(names.BEAT), now
        self._seen[run.info.run_id] = beat, since
        return now - since > SILENT_SECONDS


def bury(client: MlflowClient, experiment_ids: list[str]) -> list[str]:
    """Mark the runs of this project that a dead process left RUNNING as KILLED; their ids."""
    buried = []
    for run in client.search_runs(experiment_ids, "attributes.status = 'RUNNING'", max_results=1000):
        ours = names.ENTRY_POINT in run.data.tags or names.PROCESS in run.data.tags or names.TRIAL in run.data.tags
        if ours and is_dead(client, run, time.time()):
            client.set_terminated(run.info.run_id, "KILLED")
            disown_below(client, run)
            buried.append(run.info.run_id)
    return buried


class Heartbeat:
    """While open, says every 20 s on the run's tags that its process lives."""

    def __init__(self, client: MlflowClient, run_id: str):
        self._client, self._run_id, self._stop = client, run_id, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def tags(self) -> dict[str, str]:
        """The first beat, for the caller to write together with its other tags."""
        return {
            names.HOST: this_host(),
            names.PROCESS: process_name(os.getpid()) or str(os.getpid()),
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
    poll_seconds: float = 1,
    tags: tuple[str, str] = (names.KEY, names.TICKET),
    what: str = "computes the same",
) -> None:
    """Return when no living run that came earlier is still computing `key`. `tags` are where key and ticket stand.

    Lamport's bakery over run tags: draw a ticket one above every ticket seen, then let lower tickets finish, so
    that of several runs with one key exactly one computes and the others find its outputs.
    """

    def rivals() -> list[Run]:
        query = f"attributes.status = 'RUNNING' and tags.`{key_tag}` = '{key}'"
        found = client.search_runs(experiment_ids, query, max_results=1000)
        return [run for run in found if run.info.run_id != run_id and ticket_tag in run.data.tags]

    def ticket(run: Run) -> int:
        return int(run.data.tags[ticket_tag])

    key_tag, ticket_tag = tags
    # Ticket 0 means "drawing": others wait until it is drawn, as they cannot know who is first.
    client.log_batch(run_id, tags=[RunTag(key_tag, key), RunTag(ticket_tag, "0")])
    others = rivals()
    mine = 1 + max((ticket(run) for run in others), default=0)
    client.set_tag(run_id, ticket_tag, str(mine))
    said, watch = False, Watch(client)
    while True:
        ahead = [run for run in rivals() if (ticket(run), run.info.run_id) < (mine, run_id) and not watch.is_dead(run)]
        if not ahead:
            return
        if not said:
            first = ahead[0]
            say(f"waiting for run {first.info.run_id} of {first.data.tags.get(names.USER)}, which {what}")
            said = True
        time.sleep(poll_seconds)
