"""scikit-learn objects in skops files whose bytes depend on the object alone, and are never unpickled.

skops names its parts by memory address and stamps them with the time, and numpy saves the uninitialised padding
of a tree's nodes: here parts are numbered in order, dated 1980 and padded with zeros.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taxi.models.family import ModelError


def dump(obj: Any, path: Path) -> None:
    """Write `obj`; the same object gives the same bytes in any process."""
    import skops.io  # takes seconds, and boosting has no use for it

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(obj))) as parts:
        names: dict[str, str] = {}
        schema = _renumber(json.loads(parts.read("schema.json")), names, [0])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
            for old, new in names.items():
                out.writestr(zipfile.ZipInfo(new), _without_padding(parts.read(old)), zipfile.ZIP_DEFLATED, 1)
            text = json.dumps(schema, separators=(",", ":"))
            out.writestr(zipfile.ZipInfo("schema.json"), text, zipfile.ZIP_DEFLATED, 1)


def load(path: Path, trusted: Sequence[str]) -> Any:
    """The object; `trusted` names the types allowed beside skops' own. Raises ModelError for any other type.

    A forest's trees are still to be checked (`taxi.models.forest`) before they are asked anything.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        saved = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(saved)) as parts:
            _check_trees(json.loads(parts.read("schema.json")), parts, set())
        return skops.io.loads(saved, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{path} holds types that a saved model never has, refused: {error}") from None
    except _DAMAGED as error:
        raise ModelError(f"{path} is not a saved scikit-learn model ({type(error).__name__}: {error!s:.160})") from None


# What zip, JSON, numpy, skops and scikit-learn say of a file that is none of ours.
_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ImportError, RecursionError,
    NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def _check_trees(node: Any, parts: zipfile.ZipFile, seen: set[Any]) -> None:
    """Raise ValueError where a tree is made with numbers that scikit-learn takes on trust: of one answer, of no class.

    Nor may two parts have one id: skops would take the first for both.
    """
    if isinstance(node, dict):
        if "__id__" in node:
            if node["__id__"] in seen:
                raise ValueError("two parts have one id")
            seen.add(node["__id__"])
        if node.get("__class__") == "Tree":
            columns, classes, answers = node["__reduce__"]["args"]["content"]
            if not (_number(columns).isdecimal() and int(_number(columns)) < 2**31 and _number(answers) == "1"):
                raise ValueError("a tree of another form")
            array = np.load(io.BytesIO(parts.read(classes["file"])), allow_pickle=False)
            if classes["__loader__"] != "NdArrayNode" or classes["type"] != "numpy" or array.tolist() != [1]:
                raise ValueError("a tree of another form")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_trees(child, parts, seen)


def _number(part: dict[str, Any]) -> str:
    """What skops wrote of a number; "" for anything else."""
    content = part["content"] if part["__loader__"] == "JsonNode" else ""
    return content if isinstance(content, str) else ""


def _renumber(node: Any, names: dict[str, str], count: list[int]) -> Any:
    """The schema with ids in order of appearance; fills `names`: old file name -> new."""
    if isinstance(node, list):
        return [_renumber(item, names, count) for item in node]
    if not isinstance(node, dict):
        return node
    renumbered = {}
    for key, value in node.items():
        if key == "__id__":
            count[0] += 1
            value = count[0]
        elif key == "file" and isinstance(value, str):
            value = names.setdefault(value, f"{len(names)}{Path(value).suffix}")
        else:
            value = _renumber(value, names, count)
        renumbered[key] = value
    return renumbered


def _without_padding(part: bytes) -> bytes:
    """A .npy part again, with zeros between the fields of its records."""
    if not part.startswith(b"\x93NUMPY"):
        return part
    array = np.load(io.BytesIO(part), allow_pickle=False)
    if array.dtype.names is None:
        return part
    clean = np.frombuffer(bytearray(array.nbytes), dtype=array.dtype).reshape(array.shape)
    for name in array.dtype.names:
        clean[name] = array[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
