"""The private key that signs this user's runs, where LINEAGE_SIGNING_KEY names its file."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.pipeline.invocation import user_path

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

VARIABLE = "LINEAGE_SIGNING_KEY"
MOST_BYTES = 10_000  # of a file with one key
_CONTENT = re.compile(r"PRIVATE KEY|\n|^(MC4CAQ|b3BlbnNzaC1rZXk)")  # PKCS8 and OpenSSH keys begin so, in base64
_MAKE = " Make a key: openssl genpkey -algorithm ed25519 -out key.pem (docs/signing.md), or unset the variable."


class SigningKeyError(ValueError):
    """LINEAGE_SIGNING_KEY names no key that can sign. No message holds any of a file's content."""


def load() -> CryptoSigner | None:
    """The key that LINEAGE_SIGNING_KEY names; None if it is not set. Raises SigningKeyError.

    The variable becomes an absolute path, because the steps that this process starts have another working folder.
    """
    if not (given := os.environ.get(VARIABLE)):
        return None
    if _CONTENT.search(given):
        raise SigningKeyError(
            f"{VARIABLE} holds a key, and not the path of a file\n Write it to a file that only you can read, give"
            " its path, and if others could see the variable, make another key."
        )
    path = user_path(given)
    key = _private_key(_content(path), str(path))
    os.environ[VARIABLE] = str(path)
    return key


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise SigningKeyError(f"{VARIABLE}={path}: there is no such file\n{_MAKE}")
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise SigningKeyError(f"{VARIABLE}={path} cannot be read: {error.strerror}\n{_MAKE}") from None


def _private_key(content: bytes, path: str) -> CryptoSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
    from securesystemslib.signer import CryptoSigner

    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
    try:
        key = load(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in content or "password" in str(error).lower():
            raise SigningKeyError(
                f"{VARIABLE}={path} has a passphrase, for which a run cannot ask\n Give a copy without one: "
                "openssl pkey -in KEY -out COPY, or ssh-keygen -p -N '' -f COPY."
            ) from None
        raise SigningKeyError(f"{VARIABLE}={path} holds no private key that can be read\n{_MAKE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{VARIABLE}={path} holds a key of another kind than Ed25519\n{_MAKE}")
    return CryptoSigner(key)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """While it is open, processes that this one starts do not learn where the key is: they run the code of others."""
    path = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if path is not None:
            os.environ[VARIABLE] = path
