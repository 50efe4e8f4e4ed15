"""Name in the description of a model version who signed the record of the run that registered it."""

from __future__ import annotations

from provenance.pipeline.session import Session
from provenance.record.validation import code
from provenance.registry.aliases import version_of
from provenance.reuse.cache import Hit

LENGTH = 5000  # characters MLflow keeps of a description


def note_signer(session: Session, hit: Hit, signer: str) -> None:
    """Add a line to the description of the version that `hit` registered. Call it when the record is signed."""
    name, version = version_of(hit)
    before = session.client.get_model_version(name, version).description or ""
    line = f"\n\nThe record of run {hit.run_id} is signed by {code(signer)}."
    session.client.update_model_version(name, version, before[: LENGTH - len(line)] + line)
