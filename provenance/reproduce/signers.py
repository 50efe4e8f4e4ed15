"""Who signed the records that are repeated or bundled."""

from __future__ import annotations

from collections.abc import Sequence

from provenance.pipeline.session import NotSigned, Session
from provenance.reproduce.recorded_run import RecordedRun, upstream
from provenance.signing.envelope import SignatureError, Signed
from provenance.signing.signatures import UNSIGNED
from provenance.signing.trusted_keys import TrustedKeyError


def signers(session: Session, originals: Sequence[RecordedRun]) -> dict[str, str]:
    """Run id -> who signed its record, or why the signature is not valid. Empty if none of the records has one."""
    if all(original.signature is None for original in originals):
        return {}
    return {original.run_id: _described(session, original) for original in originals}


def _described(session: Session, original: RecordedRun) -> str:
    if original.signature is None:
        return "not signed"
    try:
        return str(_signed(session, original))
    except SignatureError as error:
        return f"signature not valid: {error}"
    except TrustedKeyError as error:
        return f"signature not checked: {str(error).splitlines()[0]}"


def _signed(session: Session, original: RecordedRun) -> Signed:
    if original.record is None:
        raise SignatureError(UNSIGNED)
    return session.signatures.run(original.record, original.signature)


def require_signed(session: Session, originals: Sequence[RecordedRun], in_store: bool) -> None:
    """If only signed runs are taken: raise NotSigned unless the records and, in a store, all upstream are signed."""
    if not session.only_signed:
        return
    if in_store:
        _require_upstream(session, [original.run_id for original in originals])
        return
    for original in originals:
        try:
            _signed(session, original)
        except SignatureError as error:
            raise NotSigned(
                f"run {original.run_id} of the bundle is not taken: {error}\n trust=signed takes only what a trusted "
                "key signed (docs/signing.md)."
            ) from error


def _require_upstream(session: Session, pending: list[str]) -> None:
    seen: set[str] = set()
    while pending:
        if (run_id := pending.pop()) not in seen:
            seen.add(run_id)
            pending += [above for above, _ in upstream(session.hit(run_id).lineage).values()]
