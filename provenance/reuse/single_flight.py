"""Let only one of several runs with the same key compute. The others wait for its outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

from provenance.record import names
from provenance.record.validation import one_line
from provenance.reuse.heartbeat import STRANGER_SECONDS, SilenceWatch, _ticket
from provenance.store.paging import every
from provenance.store.project_identity import is_ours


def wait_for_turn(
    client: MlflowClient,
    experiment_ids: list[str],
    run_id: str,
    key: str,
    say: Callable[[str], None],
    project: str,
    poll_seconds: float = 1,
    tags: tuple[str, str] = (names.KEY, names.TICKET),
    what: str = "computes the same",
    believed: Collection[str] | None = None,
) -> None:
    """Wait until no earlier live run of `project` in these experiments is still working with the same `key`.

    This is Lamport's bakery algorithm with run tags. Each run takes a ticket that is one higher than all existing
    tickets, and waits for the runs with lower tickets. So exactly one run computes at a time, and the next one finds
    its outputs.

    say: prints a line when the run must wait. what: what the other run does, for that line.
    tags: names of the tags that hold key and ticket.
    believed: for a run outside these experiments the wait ends after STRANGER_SECONDS, because a stranger could leave
    a run there that never ends. None: all experiments are believed.
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
    # Ticket 0 means that the run is still taking its ticket. Others wait for it, because its place is not known yet.
    client.log_batch(run_id, tags=[RunTag(key_tag, key), RunTag(ticket_tag, "0"), RunTag(names.PROJECT, project)])
    mine = 1 + max((ticket for ticket, _ in rivals()), default=0)
    client.set_tag(run_id, ticket_tag, str(mine))
    said, watch, deadline = False, SilenceWatch(client), time.monotonic() + STRANGER_SECONDS
    while True:
        ahead = [run for ticket, run in rivals() if is_ahead(ticket, run)]
        if not ahead:
            return
        if not said:
            who = one_line(ahead[0].data.tags.get(names.USER, "unknown"))
            say(f"waiting for run {ahead[0].info.run_id} of {who:.100}, which {what}")
            said = True
        time.sleep(poll_seconds)
