"""Sign the record of a run and the result of a trial, and check such a signature."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Run

from provenance.record import names
from provenance.record.artifacts import ArtifactError, optional_file
from provenance.record.digest import Json
from provenance.record.lineage import Lineage
from provenance.record.validation import without_remedy
from provenance.signing import envelope, signing_key, trusted_keys
from provenance.signing.envelope import MOST_BYTES, SHORT, SignatureError, Signed
from provenance.signing.trusted_keys import FOLDER, TrustedKey, TrustedKeyError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

RUN, TRIAL = "urn:mlflow-lineage:run:v1", "urn:mlflow-lineage:trial:v1"
UNSIGNED = "it is not signed"


@dataclass(frozen=True)
class Record:
    """What a signature is about: a record, its bytes, and the digest of the run's metrics.

    project: the run's project, as its tag says; None where there is no tag, in a bundle.
    """

    run_id: str
    lineage: Lineage
    text: bytes
    metrics: str
    project: str | None

    def subjects(self) -> dict[str, Json]:
        """Name -> digest: of lineage.json, and of each output, as lineage.json has it."""
        outputs: dict[str, Json] = {output.name: {"filesSha256": output.digest} for output in self.lineage.outputs}
        return {names.LINEAGE_FILE: {"sha256": hashlib.sha256(self.text).hexdigest()}, **outputs}

    def predicate(self) -> dict[str, Json]:
        """The run, so that a signature says nothing of another one, and what is not in its record."""
        found: dict[str, Json] = {"run": self.run_id, "step": self.lineage.step, "metrics": self.metrics}
        return found if self.project is None else {**found, "project": self.project}


def _trial(run_id: str, project: str, search_key: str, result: str) -> tuple[dict[str, Json], dict[str, Json]]:
    """Subjects and predicate of a trial's statement. `result` holds the digest of the trial's model."""
    digest = hashlib.sha256(result.encode()).hexdigest()
    return {"result": {"sha256": digest}}, {"run": run_id, "search": search_key, "project": project}


@dataclass(frozen=True)
class RunSigner:
    """Signs this user's runs. `name`: that of the key in trusted_keys, or the beginning of its id."""

    key: CryptoSigner = field(repr=False)
    name: str

    @property
    def keyid(self) -> str:
        """The id of the public key."""
        return str(self.key.public_key.keyid)

    def run(self, record: Record) -> str:
        """The envelope for a record, as JSON."""
        return envelope.sign(self.key, RUN, record.subjects(), record.predicate())

    def trial(self, run_id: str, project: str, search_key: str, result: str) -> str:
        """The envelope for a trial's result, as JSON."""
        return envelope.sign(self.key, TRIAL, *_trial(run_id, project, search_key, result))


@dataclass
class Signatures:
    """Checks signatures against the keys that the checkout in the folder `root` trusts."""

    root: Path

    @cached_property
    def keys(self) -> Mapping[str, TrustedKey]:
        """Key id -> trusted key. Raises TrustedKeyError."""
        return trusted_keys.read(self.root)

    def require_keys(self) -> None:
        """Raise TrustedKeyError if no key is trusted."""
        if not self.keys:
            raise TrustedKeyError(
                f"trust=signed: {self.root / FOLDER} holds no key, so no run could be taken\n"
                f" Put the public keys of whom you trust there, as {FOLDER}/<name>.pub (docs/signing.md)."
            )

    def signer(self) -> RunSigner | None:
        """Signs with the key that LINEAGE_SIGNING_KEY names; None without one."""
        if not (key := signing_key.load()):
            return None
        known = self.keys.get(key.public_key.keyid)
        return RunSigner(key, known.name if known else f"key {key.public_key.keyid[:SHORT]}")

    def not_trusted(self, signer: RunSigner | None) -> str | None:
        """Why runs that `signer` signs now would be refused; None if they would be taken."""
        if signer is None:
            return f"no key signs it\n Set {signing_key.VARIABLE} to your private key (docs/signing.md)."
        if not (key := self.keys.get(signer.keyid)):
            return f"your {signer.name} is not in {FOLDER}/\n Put your public key there (docs/signing.md)."
        why = key.refused(datetime.now(UTC).date())
        return f"it would be {why}\n Sign with another key (docs/signing.md)." if why else None

    def run(self, record: Record, signature: bytes | None) -> Signed:
        """Who signed a record. Raises SignatureError."""
        if signature is None:
            raise SignatureError(UNSIGNED)
        return envelope.check(signature, self.keys, RUN, record.subjects(), record.predicate())

    def trial(self, run: Run, search_key: str) -> Signed:
        """Who signed the result of a trial's run. Raises SignatureError."""
        tags = run.data.tags
        if not (signature := tags.get(names.SIGNATURE)):
            raise SignatureError(UNSIGNED)
        about = _trial(run.info.run_id, tags.get(names.PROJECT, ""), search_key, tags[names.TRIAL_RESULT])
        return envelope.check(signature.encode(errors="replace"), self.keys, TRIAL, *about)


def fetch(run_id: str) -> bytes | None:
    """The signature beside the record of a run; None if there is none. Raises SignatureError if it may not be read."""
    try:
        return optional_file(f"runs:/{run_id}/{names.SIGNATURE_FILE}", MOST_BYTES)
    except ArtifactError as error:
        raise SignatureError(f"its signature cannot be read ({without_remedy(error)})") from None
