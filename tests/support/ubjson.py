"""UBJSON as XGBoost writes it, written: for models that nobody fitted."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

MARKERS = {">f4": "d", ">f8": "D", ">i4": "l", ">i8": "L", "|u1": "U"}


def dumps(value: Any) -> bytes:
    """Typed arrays stay typed; lists are lists of values."""
    if isinstance(value, dict):
        return b"{" + b"".join(_text(name) + dumps(item) for name, item in value.items()) + b"}"
    if isinstance(value, np.ndarray):
        return b"[$" + MARKERS[value.dtype.str].encode() + b"#" + _length(len(value)) + value.tobytes()
    if isinstance(value, list):
        return b"[#" + _length(len(value)) + b"".join(map(dumps, value))
    if isinstance(value, str):
        return b"S" + _text(value)
    if isinstance(value, int):
        return b"L" + struct.pack(">q", value)
    return b"D" + struct.pack(">d", value)


def _length(count: int) -> bytes:
    return b"L" + struct.pack(">q", count)


def _text(text: str) -> bytes:
    return _length(len(text.encode())) + text.encode()
