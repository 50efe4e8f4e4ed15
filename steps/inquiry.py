"""A run that asks about other runs: it makes nothing that a step could use, only a report."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from steps.door import session_for
from steps.launched_run import own_run
from steps.launcher import given_path


@contextlib.contextmanager
def inquiry(name: str, params: Mapping[str, object]) -> Iterator[object]:
    """The open run's session, under a heartbeat."""
    from tracking import alive
    from tracking.record import clean_addresses, describe, named

    with own_run(name) as run:
        session = session_for(params, run)
        with alive.Heartbeat(session.client, run.info.run_id, session.project) as heartbeat:
            describe(session.client, run.info.run_id, heartbeat.tags() | named(run, name) | clean_addresses(run))
            alive.bury(session.client, session.experiments, session.project)
            yield session


def publish(session, report: str, facts: Mapping[str, object], tags: Mapping[str, str], file: str = "") -> None:
    """The report as Markdown, as the run's description and, the facts, as JSON in `file`."""
    from tracking import names
    from tracking.notes import spaced
    from tracking.record import describe

    run_id = session.run.info.run_id
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        Path(folder, names.REPORT_FILE).write_text(report)
        Path(folder, file or names.VERDICT_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        session.client.log_artifacts(run_id, folder)
    describe(session.client, run_id, {names.NOTE: spaced(report[:100_000]), **tags})


def given_repository(text: str) -> str | None:
    """The repository to take code from; None for "own". A relative path is the user's, as in given_path."""
    from tracking.remote import split_remote

    if text == "own":
        return None
    return str(given_path(text)) if split_remote(text)[0] == "file" and "://" not in text else text
