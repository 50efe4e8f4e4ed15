"""Parse one module: its digest without comments, docstrings and formatting, its imports and its data files."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

DECLARATION = "DATA_FILES"  # a module names the files in its folder that it reads: DATA_FILES = ("zones.json",)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class CodeError(ValueError):
    """The digest of code cannot be computed: a missing module, a syntax error, an import known only at run time."""


@dataclass(frozen=True)
class Module:
    """The source text of one module.

    digest: SHA-256, hex, without comments, docstrings and formatting.
    imports: (module or "", names imported from it, leading dots), as written.
    data_files: the names in DATA_FILES.
    computed: the line of an import_module(variable), else None.
    texts: if there is such a line, all dotted names that are text in this module: the modules that it can import.
    """

    digest: str
    imports: tuple[tuple[str, tuple[str, ...], int], ...]
    data_files: tuple[str, ...]
    computed: int | None = None
    texts: tuple[str, ...] = ()


@lru_cache(maxsize=1024)  # several steps share most modules
def parse(text: bytes, path: str) -> Module:
    """Parse a module's text. `path` is for messages. Raises CodeError for a syntax error or a wrong DATA_FILES."""
    try:
        tree = ast.parse(text, path)
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else path
        raise CodeError(f"{where}: {getattr(error, 'msg', error)}. The step cannot run: correct it first.") from None
    spelled: list[str] = []
    _spell(tree, spelled.append)
    digest = hashlib.sha256("".join(spelled).encode("utf-8", "surrogatepass")).hexdigest()
    calls = b"import_module" in text or b"__import__" in text  # otherwise only statements can import
    found = list(_imports(tree, ast.iter_child_nodes if calls else _statements))
    imports = tuple((name, names, dots) for name, names, dots in found if name is not None)
    computed = next((line for name, _, line in found if name is None), None)
    texts = tuple(sorted(_texts(tree))) if computed else ()
    return Module(digest, imports, _declared(tree, path), computed, texts)


def _spell(node: Any, write: Callable[[str], None]) -> None:
    """Write a syntax tree, or the value of one of its fields, as text without positions.

    Empty fields are left out. Otherwise a Python version with a new field would give another digest.
    """
    if isinstance(node, ast.Constant):
        constant = node.value
        write("#")  # without it, a constant None would look like a missing node
        write(f"{constant:#x}" if type(constant) is int else f"{constant!r}")
    elif isinstance(node, ast.AST):
        write(f"{type(node).__name__}(")
        for field in node._fields:
            value: Any = getattr(node, field, None)
            if field == "body" and isinstance(node, _DOCUMENTED):
                value = _without_docstring(value)
            if value is not None and value != []:
                write(f"{field}=")
                _spell(value, write)
                write(",")
        write(")")
    elif isinstance(node, list):
        write("[")
        for item in node:
            _spell(item, write)
            write(",")
        write("]")
    else:
        write(repr(node))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body


def _imports(
    tree: ast.AST, below: Callable[[ast.AST], Iterator[ast.AST]]
) -> Iterator[tuple[str | None, tuple[str, ...], int]]:
    """Imports as in Module.imports; (None, (), line) for a module that is known only at run time."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, (), 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names), node.level
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            yield _literal(node)
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            pending += node.orelse  # only a type checker reads this block; it never runs
        else:
            pending += below(node)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        yield from getattr(node, field, ())


def _name(node: ast.AST) -> str | None:
    return getattr(node, "attr", getattr(node, "id", None))


def _literal(call: ast.Call) -> tuple[str | None, tuple[str, ...], int]:
    first = call.args[0] if call.args else None
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        return None, (), call.lineno
    name = first.value.lstrip(".")
    return name, (), len(first.value) - len(name)


def _texts(tree: ast.AST) -> set[str]:
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if "." in text and all(part.isidentifier() for part in text.split("."))}


def _declared(tree: ast.Module, path: str) -> tuple[str, ...]:
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not any(isinstance(target, ast.Name) and target.id == DECLARATION for target in targets):
            continue
        try:
            names = ast.literal_eval(node.value) if node.value else None
        except ValueError:
            names = None
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            raise CodeError(
                f'{path}, line {node.lineno}: write {DECLARATION} as literal names, such as ("zones.json",).'
            )
        return tuple(names)
    return ()
