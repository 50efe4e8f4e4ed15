"""Files: their digests, and giving one its name when it is whole."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def replace_file(beside: Path, path: Path) -> None:
    """Give a file written beside its name, once its bytes are on the disk."""
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def sha256_file(path: Path) -> str:
    """SHA-256 of the bytes in hex. Raises OSError when they cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Indented, names sorted: the same bytes for the same value."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
