"""Files: compute digests, and replace a file in one operation."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def replace_file(beside: Path, path: Path) -> None:
    """Rename the complete file `beside` to `path`, after its bytes are on the disk. So `path` is never half-written."""
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hex. Raises OSError if the file cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Indented, names sorted: the same bytes for the same value."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
