"""The code one step uses: the modules it imports inside the project, as a digest each.

Comments, docstrings and formatting do not count; any other change does. Read from the source text, nothing is imported.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path

from tracking.digest import digest_json, sha256_file

DECLARATION = "DATA_FILES"  # a module names the files beside it that it reads: DATA_FILES = ("zones.json",)


class CodeError(ValueError):
    """Code whose digest cannot be had: no such module, a syntax error, an import known only at run time."""


def closure(root: str | Path, module: str) -> dict[str, str]:
    """Path inside the project -> SHA-256 hex, of `module` ("steps.train") and all it imports below `root`.

    Follows imports wherever they stand (also inside functions), packages' __init__.py, and DATA_FILES.
    """
    root = Path(root)
    if not _files(root, module):
        raise CodeError(f"{root} has no module {module!r}. Give one that is there, such as 'steps.main'.")
    digests: dict[str, str] = {}
    pending, seen = [module], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for owner, file in _files(root, name):
            path = file.relative_to(root).as_posix()
            if path in digests:
                continue
            source = _source(file.read_bytes(), path)
            digests[path] = source.digest
            digests |= _data_files(root, file, source.data_files)
            package = owner if file.name == "__init__.py" else owner.rpartition(".")[0]
            pending += _imported(root, path, package, source.imports)
    return dict(sorted(digests.items()))


def digest(closure: Mapping[str, str]) -> str:
    """One SHA-256, hex, over a closure."""
    return digest_json(dict(closure))


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Paths that differ, sorted; those of one side alone are marked "(added)" or "(removed)"."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            lines.append(f"{path} (added)")
        elif path not in after:
            lines.append(f"{path} (removed)")
        elif before[path] != after[path]:
            lines.append(path)
    return lines


class _Source:
    """One parsed module: digest, imports as (module, names, level), data files."""

    def __init__(self, text: bytes, path: str):
        try:
            tree = ast.parse(text, path)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f"{path}, line {line}" if line else path
            raise CodeError(
                f"{where}: {getattr(error, 'msg', error)}. The step cannot run; correct it first."
            ) from None
        self.imports = list(_imports(tree, path))
        self.data_files = _declared(tree, path)
        digest = hashlib.sha256()
        digest.update("".join(_spell(tree)).encode("utf-8", "surrogatepass"))
        self.digest = digest.hexdigest()


@lru_cache(maxsize=1024)  # by content: several steps share most modules
def _source(text: bytes, path: str) -> _Source:
    return _Source(text, path)


def _files(root: Path, name: str) -> list[tuple[str, Path]]:
    """(module, file) of `name` and of the packages above it, or [] when it is not of this project."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return []
    found = []
    for end in range(1, len(parts)):
        init = root.joinpath(*parts[:end], "__init__.py")
        if init.is_file():
            found.append((".".join(parts[:end]), init))
    base = root.joinpath(*parts)
    for file in (base / "__init__.py", base.with_name(base.name + ".py")):
        if file.is_file():
            return [*found, (name, file)]
    return []


def _imported(root: Path, path: str, package: str, imports: list) -> Iterator[str]:
    """Names that may be modules of the project; those that are not resolve to no file."""
    for module, names, level in imports:
        base = module or ""
        if level:
            try:
                base = resolve_name("." * level + base, package)
            except ImportError:
                raise CodeError(
                    f"{path} imports {'.' * level}{base} from above its package. Import it by its name."
                ) from None
        yield from _ancestors(base)
        for name in names:
            if name == "*":
                yield from (f"{base}.{file.stem}" for file in sorted(root.joinpath(*base.split(".")).glob("*.py")))
            else:
                yield f"{base}.{name}" if base else name


def _ancestors(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _imports(tree: ast.AST, path: str) -> Iterator[tuple[str | None, tuple[str, ...], int]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, (), 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, tuple(alias.name for alias in node.names), node.level
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield _literal(node, path)
        if isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING":
            pending += node.orelse  # what only a type checker reads is never run
        else:
            pending += ast.iter_child_nodes(node)


def _called(node: ast.AST) -> str | None:
    node = node.func if isinstance(node, ast.Call) else node
    return getattr(node, "attr", getattr(node, "id", None))


def _literal(call: ast.Call, path: str) -> tuple[str, tuple[str, ...], int]:
    first = call.args[0] if call.args else None
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
        raise CodeError(
            f"{path}, line {call.lineno}: which module is imported is known only at run time. "
            "Name it as text, or import the choices and choose among them."
        )
    name = first.value.lstrip(".")
    return name, (), len(first.value) - len(name)


def _declared(tree: ast.Module, path: str) -> tuple[str, ...]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == DECLARATION for target in targets):
            try:
                names = ast.literal_eval(node.value)
            except ValueError:
                names = None
            if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
                raise CodeError(
                    f'{path}, line {node.lineno}: {DECLARATION} must be literal names, such as ("zones.json",).'
                )
            return tuple(names)
    return ()


def _data_files(root: Path, module: Path, names: tuple[str, ...]) -> dict[str, str]:
    digests = {}
    for name in names:
        file = (module.parent / name).resolve()
        if not file.is_file() or not file.is_relative_to(root.resolve()):
            raise CodeError(
                f"{module} declares {name!r} in {DECLARATION}, which is no file of the project. Add or undeclare it."
            )
        digests[file.relative_to(root.resolve()).as_posix()] = sha256_file(file)
    return digests


def _spell(node: object) -> Iterator[str]:
    """The tree as text without positions; empty fields are left out, so that Python versions agree."""
    if isinstance(node, ast.Constant):
        value = node.value
        yield hex(value) if type(value) is int else repr(value)
    elif isinstance(node, ast.AST):
        yield type(node).__name__
        yield "("
        for field, value in ast.iter_fields(node):
            if field == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                value = _without_docstring(value)
            if value is not None and value != []:
                yield field
                yield "="
                yield from _spell(value)
                yield ","
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _spell(item)
            yield ","
        yield "]"
    else:
        yield repr(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body
