"""Keys made for a test: private ones in a folder, public ones among those that a project trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from provenance.signing.trusted_keys import FOLDER


def private_key(folder: Path, name: str) -> Path:
    """A new private key, as `openssl genpkey -algorithm ed25519` writes it."""
    key = Ed25519PrivateKey.generate()
    path = folder / f"{name}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_pem(path: Path) -> str:
    """The public half of a private key, as `openssl pkey -pubout` writes it."""
    key = load_pem_private_key(path.read_bytes(), None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def trust(root: Path, key: Path, name: str, *limits: str) -> Path:
    """Write the public half of `key` to the trusted keys of the project in `root`."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    path = root / FOLDER / f"{name}.pub"
    path.write_text("".join(f"# {limit}\n" for limit in limits) + public_pem(key))
    return path


def ssh_key(folder: Path, name: str, passphrase: str = "") -> Path:
    """A new key, as `ssh-keygen` writes it; its public half lies beside it."""
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def keyid(path: Path) -> str:
    """The id of a private key's public half, as signatures name it."""
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(load_pem_private_key(path.read_bytes(), None).public_key()).keyid
