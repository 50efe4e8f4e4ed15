"""A run that examines other runs. It makes a report, and no output that a step could use."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.pipeline.cli import open_session
from provenance.pipeline.invocation import user_path
from provenance.pipeline.launched_run import own_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Parameters, Pipeline
    from provenance.pipeline.session import Session


@contextlib.contextmanager
def report_run(pipeline: Pipeline, name: str, params: Parameters) -> Iterator[Session]:
    """Open a run that examines other runs, and send its heartbeat until the block ends.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    name : str
        Name of the entry point and of the run.
    params : mapping of str to object
        Parameters of the entry point, by name.

    Yields
    ------
    Session
        The session of the open run.

    Raises
    ------
    Refused
        If MLFLOW_RUN_ID names a run that was not made for this entry point.
    StoreError
        If the tracking store cannot be used.
    """
    from provenance.record.writer import clean_addresses, named, set_tags
    from provenance.reuse import heartbeat

    with own_run(name) as run:
        session = open_session(pipeline, params, run)
        with heartbeat.Heartbeat(session.client, run.info.run_id, session.project) as beating:
            set_tags(session.client, run.info.run_id, beating.tags() | named(run, name) | clean_addresses(run))
            heartbeat.mark_dead_runs(session.client, session.experiments, session.project)
            yield session


def publish_report(
    session: Session,
    report: str,
    facts: Mapping[str, object],
    tags: Mapping[str, str],
    file: str = "",
    result: str = "",
    links: Sequence[str] = (),
    page: str = "",
) -> None:
    """Log a report as Markdown and as the run's description, and its `facts` as JSON in the artifact `file`.

    The description begins with `result`, one line, and with `links`. `page` is the report for the description, if it
    differs from `report`: there it can contain links.
    """
    from provenance.record import names
    from provenance.record.run_page import artifact_link, report_page
    from provenance.record.writer import set_tags

    info, file = session.open_run.info, file or names.VERDICT_FILE
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        Path(folder, names.REPORT_FILE).write_text(report)
        Path(folder, file).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        session.client.log_artifacts(info.run_id, folder)
    written = [artifact_link(info.experiment_id, info.run_id, name) for name in (names.REPORT_FILE, file)]
    note = report_page(result, [*links, *written], (page or report)[:100_000])
    set_tags(session.client, info.run_id, {names.NOTE: note, **tags})


def given_repository(text: str) -> str | None:
    """The repository to take code from; None for "own". A relative path is made absolute by `user_path`."""
    from provenance.git.remote import split_remote

    if text == "own":
        return None
    return str(user_path(text)) if split_remote(text)[0] == "file" and "://" not in text else text
