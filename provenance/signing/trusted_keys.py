"""The public keys that this checkout trusts: the files trusted_keys/<name>.pub.

A file holds one Ed25519 public key, as PEM or as `ssh-keygen` writes it. Comment lines before it limit the key:
`# until: 2027-06-30` (its last day, UTC) and `# revoked: 2026-10-01`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

FOLDER = "trusted_keys"
MOST_BYTES = 10_000  # of a file with one key
_NAME = re.compile(r"[\w.@+-]{1,100}")
_LIMIT = re.compile(r"#\s*([A-Za-z]+)\s*:\s*(.*)")
_HELP = f" {FOLDER}/<name>.pub holds an Ed25519 public key; before it may stand '# until: 2027-06-30' or '# revoked: "
_HELP += "2026-10-01'."


class TrustedKeyError(ValueError):
    """A file of trusted_keys cannot be used, or there is none."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key. `until` is its last day; `revoked` is the day on which it was revoked: then it counts no more."""

    name: str
    public: SSlibKey
    until: date | None = None
    revoked: date | None = None

    def refused(self, day: date) -> str | None:
        """Why a signature that says it was made on `day` is not taken; None if it is."""
        if self.revoked:  # whoever has the private key can write any day into a signature
            return f"signed with the key {self.name}, which is revoked ({self.revoked})"
        if self.until and day > self.until:
            return f"signed with the key {self.name} on {day}, after its last day ({self.until})"
        return None


def read(root: Path) -> dict[str, TrustedKey]:
    """Key id -> trusted key, of the project in the folder `root`. Raises TrustedKeyError."""
    found: dict[str, TrustedKey] = {}
    for path in sorted((root / FOLDER).glob("*.pub")):
        key = _read(path)
        if same := found.get(key.public.keyid):
            raise TrustedKeyError(f"{FOLDER}: {same.name}.pub and {key.name}.pub hold one key\n Remove one of them.")
        found[key.public.keyid] = key
    return found


def _read(path: Path) -> TrustedKey:
    where = f"{FOLDER}/{path.name!a:.120}"
    if not _NAME.fullmatch(path.stem):
        raise TrustedKeyError(f"{where} names no key\n Use letters, digits and . _ @ + -")
    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():
            raise TrustedKeyError(f"{where} is no public key\n{_HELP}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrustedKeyError(f"{where} cannot be read ({type(error).__name__})\n{_HELP}") from error
    limits = {}
    for line in lines:
        if match := _LIMIT.fullmatch(line.strip()):
            limits[match[1].lower()] = _day(match[1].lower(), match[2], where)
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).strip()
    return TrustedKey(path.stem, _public_key(text, where), limits.get("until"), limits.get("revoked"))


def _day(word: str, text: str, where: str) -> date:
    """The day of a limit. A misspelled limit is an error: else a revoked key would count as a good one."""
    try:
        if word not in ("until", "revoked"):
            raise ValueError
        return date.fromisoformat(text.strip())
    except ValueError:
        raise TrustedKeyError(f"{where} says '{word}: {text!a:.40}', which is no limit of a key\n{_HELP}") from None


def _public_key(text: str, where: str) -> SSlibKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key
    from securesystemslib.signer import SSlibKey

    if "PRIVATE KEY" in text:
        raise TrustedKeyError(f"{where} holds a private key\n Take it out of the repository at once, and make another.")
    try:
        key = (load_ssh_public_key if text.startswith("ssh-") else load_pem_public_key)(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TrustedKeyError(f"{where} holds no public key that can be read\n{_HELP}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise TrustedKeyError(f"{where} holds a key of another kind than Ed25519\n{_HELP}")
    return SSlibKey.from_crypto(key)
