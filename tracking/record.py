"""Write a lineage record to a run: when it starts, so that a crash keeps it, and when its outputs are whole."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunTag

from tracking import names, notes, source
from tracking.lineage import Lineage
from tracking.session import Session


def describe(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags in one call."""
    client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


def start(session: Session, lineage: Lineage) -> None:
    """Tags, lineage.json, description and, for a dirty tree, the patch that restores it."""
    run_id = session.run.info.run_id
    if session.source.dirty:
        with tempfile.TemporaryDirectory() as folder:
            patch = Path(folder, names.PATCH_FILE)
            patch.write_bytes(source.make_patch(session.root))
            session.client.log_artifact(run_id, str(patch))
    session.client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    describe(session.client, run_id, lineage.tags() | {names.ENVIRONMENT_FOLDER: sys.prefix})
    explain(session, lineage)


def explain(session: Session, lineage: Lineage, **more) -> None:
    """The description of the session's run: links along the chain, Markdown given as `note`, then the record."""
    info, parent = session.run.info, session.run.data.tags.get(names.PARENT)
    describe(session.client, info.run_id, {names.NOTE: notes.page(lineage, info.experiment_id, parent=parent, **more)})


def finish(session: Session, lineage: Lineage, reused: str | None = None, **more) -> None:
    """The outputs: lineage.json again, then the tags, the one that makes them usable in the same call.

    A run that reused another one gets the tags but not that one: it stands for no outputs of its own. `more` is for
    `notes.page`.
    """
    run_id = session.run.info.run_id
    session.client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    explain(session, lineage, reused=reused, **more)
    marks = {} if reused else {names.OUTPUTS: lineage.outputs_digest()}
    describe(session.client, run_id, lineage.tags() | marks)
