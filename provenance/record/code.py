"""The code of one step: the modules of the project that it imports, each with a digest.

Comments, docstrings and formatting do not change a digest; any other edit does. The modules are found in the source
text; they are not imported. Two things are not found: code that runs without an import, and files that are read but
not named in DATA_FILES.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

from provenance.bootstrap import source_imports
from provenance.record.difference import Difference, DifferenceKind, changed_values
from provenance.record.digest import digest_json, sha256_file
from provenance.record.syntax import DECLARATION, CodeError, Module, parse

INIT = "__init__.py"

__all__ = ["CodeError", "changed", "closure", "digest", "unchanged"]


def closure(root: str | Path, module: str, packages: Iterable[str] | None = None) -> dict[str, str]:
    """Path inside the project -> SHA-256 hex of `module` ("steps.train") and all modules below `root` that it imports.

    The paths are sorted. Imports inside functions, the packages' __init__.py and DATA_FILES are included.

    packages: follow only imports of these packages ("search", "steps.models"); None follows all.

    Raises CodeError if a module is missing or has a syntax error, and for import_module(variable) in a module that
    does not contain the possible names as text.
    """
    root = Path(root)
    tree = _Tree(root)
    if not tree.files(module):
        raise CodeError(f"{root} has no module {module!r}. Give one that is there, such as 'steps.main'.")
    collecting = gc.isenabled()
    gc.disable()  # syntax trees are many small objects that stay in use: garbage collection would triple the time
    try:
        return dict(sorted(_closure(tree, module, None if packages is None else tuple(packages)).items()))
    finally:
        if collecting:
            gc.enable()


def digest(closure: Mapping[str, str]) -> str:
    """One SHA-256, hex, of a closure."""
    return digest_json(dict(closure))


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """The modules that differ between two closures or are in only one of them, sorted by path."""
    return changed_values(DifferenceKind.CODE, before, after)


def unchanged(root: str | Path, module: str, recorded: Mapping[str, str]) -> None:
    """Raise CodeError if the closure now differs from `recorded`, or if this process imported other source text.

    The imported source text is known only for the project that this process runs, not for another `root`.
    """
    found = changed(recorded, closure(root, module))
    moved, paths = [module.text for module in found], {module.subject for module in found}
    imported = source_imports.imported if Path(root).resolve() == source_imports.ROOT.resolve() else {}
    loaded = {path: parse(source, path).digest for path, source in imported.items() if path in recorded}
    moved += [path for path, digest in loaded.items() if digest != recorded[path] and path not in paths]
    if moved:
        more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
        raise CodeError(
            f"the code was changed while this run worked or waited: {', '.join(moved[:3])}{more}\n"
            " Nothing of it can be used. Run it again."
        )


class _Tree:
    """The files below `root`, each folder looked at once: most names that modules import are no modules."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, frozenset[str]] = {}  # folder -> what lies in it

    def _has(self, folder: str, name: str) -> bool:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(os.path.join(self.root, folder)))
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return name in self._names[folder] and os.path.isfile(os.path.join(self.root, folder, name))

    def files(self, name: str) -> list[tuple[str, str]]:
        """(module, path in the project) of module `name` and of the packages above it; [] if it is not in here."""
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return []
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        whole, folder = "/".join(parts), above[-1] if above else ""
        if self._has(whole, INIT):
            path = f"{whole}/{INIT}"
        elif self._has(folder, f"{parts[-1]}.py"):
            path = f"{whole}.py"
        else:
            return []
        inits = [(package.replace("/", "."), f"{package}/{INIT}") for package in above if self._has(package, INIT)]
        return [*inits, (name, path)]


def _closure(tree: _Tree, module: str, packages: tuple[str, ...] | None) -> dict[str, str]:
    root = tree.root
    digests: dict[str, str] = {}
    pending, seen = [module], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for owner, path in tree.files(name):
            if packages is not None and owner != module and not _is_in(owner, packages):
                continue
            if path in digests:
                continue
            source = parse(Path(root, path).read_bytes(), path)
            digests[path] = source.digest
            digests |= _data_files(root, path, source.data_files)
            package = owner if path.endswith(f"/{INIT}") else owner.rpartition(".")[0]
            for imported in source.imports:
                pending += _names(root, path, package, *imported)
            if source.computed:
                pending += _choices(tree, path, source)
    return digests


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _names(root: Path, path: str, package: str, base: str, names: tuple[str, ...], dots: int) -> Iterator[str]:
    """The modules that one import statement may load. Names that are not modules of the project are ignored later."""
    if dots:
        try:
            base = resolve_name("." * dots + base, package)
        except ImportError:
            raise CodeError(
                f"{path} imports {'.' * dots}{base} from above its package. Import it by its full name."
            ) from None
    parts = base.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    for name in names:
        if name == "*":
            yield from (f"{base}.{file.stem}" for file in root.joinpath(*parts).glob("*.py"))
        else:
            yield f"{base}.{name}"


def _choices(tree: _Tree, path: str, source: Module) -> list[str]:
    """The modules that import_module(variable) can load: those whose names are text in the same module."""
    choices = [text for text in source.texts if tree.files(text)]
    if not choices:
        raise CodeError(
            f"{path}, line {source.computed}: which module is imported is known only at run time. "
            "Write the choices as text in this module ('models.linear'), or import them all."
        )
    return choices


def _data_files(root: Path, module: str, names: tuple[str, ...]) -> dict[str, str]:
    digests, home = {}, Path(os.path.abspath(root))  # a package may be a link out of the project, its engine's
    for name in names:
        file = Path(os.path.abspath(root / Path(module).parent / name))
        if not file.is_file() or not file.is_relative_to(home):
            raise CodeError(
                f"{module} names {name!r} in {DECLARATION}, which is no file of the project. Add or undeclare it."
            )
        digests[file.relative_to(home).as_posix()] = sha256_file(file)
    return digests
