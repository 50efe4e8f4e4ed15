"""Write a lineage record to a run: when the run starts, so that it survives a crash, and when the run ends."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.utils.name_utils import _GENERATOR_NOUNS, _GENERATOR_PREDICATES

from provenance.git.command import without_credentials
from provenance.pipeline.session import Session
from provenance.record import names, run_page
from provenance.record.lineage import Lineage
from provenance.record.validation import printable
from provenance.reuse.cache import metrics_digest
from provenance.signing.signatures import Record


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags in one call."""
    client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


def named(run: Run, name: str) -> dict[str, str]:
    """The tag that names `run` after its step; empty if the user gave a name (``mlflow run --run-name``)."""
    given = run.data.tags.get(names.RUN_NAME, "")
    return {} if given and not _made_up(given) else {names.RUN_NAME: name}


def _made_up(name: str) -> bool:
    """Whether MLflow generated this name: an adjective, a noun and a number."""
    adjective, _, rest = name.partition("-")
    noun, _, number = rest.partition("-")
    return adjective in _GENERATOR_PREDICATES and noun in _GENERATOR_NOUNS and number.isdecimal()


def record_start(session: Session, lineage: Lineage) -> None:
    """Write tags, lineage.json and the description. They stay if the step crashes."""
    run_id = session.run_id
    session.client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    set_tags(
        session.client,
        run_id,
        lineage.tags() | {names.ENVIRONMENT_FOLDER: sys.prefix} | clean_addresses(session.open_run),
    )
    record_note(session, lineage)


def clean_addresses(run: Run) -> dict[str, str]:
    """Corrected values of MLflow's tags that contain a repository's address with a password: without the password."""
    tags = run.data.tags
    given = {name: tags[name] for name in names.GIT_ADDRESSES if not tags.get(name, "ssh:").startswith("ssh:")}
    clean = {name: without_credentials(value) for name, value in given.items()}
    return {name: value for name, value in clean.items() if value != given[name]}


def upload_patch(session: Session, lineage: Lineage) -> None:
    """Upload the uncommitted changes as a patch, and name each of its files on stderr.

    Raises CodeSourceError, before the upload, if a line of it looks like a secret.
    """
    captured = session.work_tree.captured(lineage.code)
    for path, why in captured.left_out:
        click.echo(printable(f"not uploading {path}: {why}"), err=True)
    if not captured.patch:
        return
    captured.check_secrets()
    for line in captured.lines():
        click.echo(printable(f"uploading {names.PATCH_FILE}: {line}"), err=True)
    with tempfile.TemporaryDirectory(prefix="patch-") as folder:
        file = Path(folder, names.PATCH_FILE)
        file.touch(mode=0o600)  # a store on this machine keeps the mode
        file.write_bytes(captured.patch)
        session.client.log_artifact(session.run_id, str(file))


def record_note(session: Session, lineage: Lineage, reused: str | None = None,
                steps: Mapping[str, str] | None = None, about: Sequence[str] = (), note: str = "",
                signer: str = "") -> None:  # fmt: skip
    """Write the description of the session's run; see `run_page.page` for the arguments."""
    info, parent = session.open_run.info, session.open_run.data.tags.get(names.PARENT)
    page = run_page.page(lineage, info.experiment_id, parent, reused, steps, about, note, signer)
    set_tags(session.client, info.run_id, {names.NOTE: page})


def record_finish(session: Session, lineage: Lineage, reused: str | None = None,
                  steps: Mapping[str, str] | None = None, about: Sequence[str] = (),
                  note: str = "") -> None:  # fmt: skip
    """Write the complete record when a step ends: lineage.json, its signature, the description, all tags in one call.

    The tag OUTPUTS makes the outputs usable for other runs. A run that reused another run does not get it, because it
    has no outputs of its own. The other arguments are those of `run_page.page`.
    """
    client, run_id, signer, text = session.client, session.run_id, session.signer, lineage.to_json()
    client.log_text(run_id, text, names.LINEAGE_FILE)
    metrics = "" if reused and not signer else metrics_digest(client.get_run(run_id).data.metrics)
    if signer:
        signature = signer.run(Record(run_id, lineage, text.encode(), metrics, session.project))
        client.log_text(run_id, signature, names.SIGNATURE_FILE)
    record_note(session, lineage, reused, steps, about, note, signer.name if signer else "")
    marks = {} if reused else {names.OUTPUTS: lineage.outputs_digest(), names.METRICS: metrics}
    set_tags(client, run_id, lineage.tags() | marks)
