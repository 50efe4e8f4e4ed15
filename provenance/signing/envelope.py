"""An in-toto statement in a DSSE envelope. securesystemslib signs it and checks the signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provenance.record.digest import Json, JsonObject
from provenance.record.validation import one_line
from provenance.signing.trusted_keys import FOLDER, TrustedKey

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
SIGNED_AT = "signedAt"  # of the predicate: the time of signing, as the signer says
MOST_BYTES = 5_000_000  # of an envelope: one of a search with 1,000 candidates has 300,000
MOST_SIGNATURES = 10
SHORT = 12  # characters of a key id in a message


class SignatureError(ValueError):
    """A run is not signed by whom this checkout trusts, or is not what was signed. The message is one line."""


@dataclass(frozen=True)
class Signed:
    """A signature that was checked: the name of the key, and the time of signing, as the signer says."""

    by: str
    at: datetime

    def __str__(self) -> str:
        return f"signed by {self.by}, {self.at:%Y-%m-%d %H:%M} UTC"


def sign(key: CryptoSigner, kind: str, subjects: Mapping[str, Json], predicate: Mapping[str, Json]) -> str:
    """The signed statement as JSON.

    kind: the type of the predicate. subjects: name -> digests, by algorithm. The time of signing is added.
    """
    from securesystemslib.dsse import Envelope

    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": digest} for name, digest in subjects.items()],
        "predicateType": kind,
        "predicate": {**predicate, SIGNED_AT: now},
    }
    envelope = Envelope(json.dumps(statement, sort_keys=True).encode(), PAYLOAD_TYPE, {})
    envelope.sign(key)
    return json.dumps(envelope.to_dict(), sort_keys=True)


def check(text: bytes, keys: Mapping[str, TrustedKey], kind: str, subjects: Mapping[str, Json],
          predicate: Mapping[str, Json]) -> Signed:  # fmt: skip
    """Who signed a statement of these subjects and this predicate.

    Raises SignatureError unless a trusted key signed it, and it says just that. The payload is read only after its
    signature was checked. Of several signatures one that is good is enough.
    """
    envelope = _parsed(text)
    known = [keys[keyid] for keyid in envelope.signatures if keyid in keys]
    if not known:
        ids = ", ".join(one_line(keyid)[:SHORT] for keyid in envelope.signatures)
        raise SignatureError(f"signed with a key that is not in {FOLDER}/ ({ids})")
    refused = []
    for key in known:
        if not _is_by(envelope, key):
            refused.append(f"the signature by {key.name} is wrong: it was altered")
            continue
        statement = _statement(envelope.payload)
        signed = Signed(key.name, _time(statement))
        if why := key.refused(signed.at.date()):
            refused.append(why)
            continue
        _compare(statement, kind, subjects, predicate)
        return signed
    raise SignatureError(refused[0])


def _parsed(text: bytes) -> Envelope:
    """The envelope, whose content nobody has checked yet."""
    from securesystemslib.dsse import Envelope

    try:
        found = json.loads(text)
        signatures = [{"keyid": one["keyid"], "sig": one["sig"]} for one in found["signatures"][:MOST_SIGNATURES]]
        texts = [found["payload"], found["payloadType"], *(part for one in signatures for part in one.values())]
        if not signatures or len(found["signatures"]) > MOST_SIGNATURES:
            raise ValueError("it has no signature, or too many")
        if not all(isinstance(part, str) for part in texts) or found["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"it is not of type {PAYLOAD_TYPE}")
        return Envelope.from_dict({**found, "signatures": signatures})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SignatureError(f"its signature cannot be read ({one_line(ascii(str(error)))[1:-1]:.100})") from None


def _is_by(envelope: Envelope, key: TrustedKey) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError

    try:
        envelope.verify([key.public], 1)
        return True
    except UnverifiedSignatureError:
        return False


def _statement(payload: bytes) -> JsonObject:
    """The content of a payload that a trusted key signed: well formed, or of another program."""
    try:
        statement: dict[str, Any] = json.loads(payload)
        if statement["_type"] != STATEMENT_TYPE or not isinstance(statement["predicate"], dict):
            raise TypeError
        return statement
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureError("what was signed is no statement about a run") from None


def _time(statement: JsonObject) -> datetime:
    try:
        at = datetime.fromisoformat(statement["predicate"][SIGNED_AT])
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise SignatureError("its signature does not say when it was made") from None


def _compare(statement: JsonObject, kind: str, subjects: Mapping[str, Json], predicate: Mapping[str, Json]) -> None:
    """Raise SignatureError unless the statement is of `kind`, about the subjects, and says what `predicate` says."""
    if statement.get("predicateType") != kind:
        raise SignatureError("what was signed is a statement about something else")
    for name, wanted in predicate.items():
        if (signed := statement["predicate"].get(name)) != wanted:
            raise SignatureError(f"its signature is for {name} {one_line(str(signed)):.60}")
    listed = [{"name": name, "digest": digest} for name, digest in subjects.items()]
    if statement.get("subject") != listed:
        raise SignatureError(f"{next(iter(subjects))} or an output was altered after it was signed")
