"""Write a lineage record to a run: when it starts, so that a crash keeps it, and when its outputs are whole."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunTag

from tracking import names, source
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
    extra = {names.NOTE: lineage.description(), names.ENVIRONMENT_FOLDER: sys.prefix}
    describe(session.client, run_id, lineage.tags() | extra)


def explain(client: MlflowClient, run_id: str, note: str, lineage: Lineage) -> None:
    """The run's description: what `note` says (Markdown), then the record."""
    describe(client, run_id, {names.NOTE: "\n\n".join(filter(None, [note, lineage.description()]))})


def finish(session: Session, lineage: Lineage, reused: str | None = None, note: str = "") -> None:
    """The outputs: lineage.json again, then the tags, the one that makes them usable in the same call.

    A run that reused another one gets the tags but not that one: it stands for no outputs of its own.
    """
    run_id = session.run.info.run_id
    session.client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    if reused:
        note = f"Reused run [{reused}](#/experiments/{session.run.info.experiment_id}/runs/{reused})."
    explain(session.client, run_id, note, lineage)
    marks = {} if reused else {names.OUTPUTS: lineage.outputs_digest()}
    describe(session.client, run_id, lineage.tags() | marks)
