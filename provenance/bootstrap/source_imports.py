"""The project's own modules are compiled from their source text, and what was imported is kept to compare.

Python takes bytecode for a module's when size and time agree, or unseen. A step takes none of the project's (to compile
all of it takes a twentieth of a second), and removes what is there, for the processes that it starts.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from provenance.bootstrap import project

ROOT = Path(project.ROOT)
ROOTS = tuple(dict.fromkeys([ROOT, Path(project.ENGINE)]))  # of the project's packages, and of the engine's
_LOADED = re.compile(rf"\.{sys.implementation.cache_tag}(\.opt-\d)?\.pyc$")  # what this Python would take

imported: dict[str, bytes] = {}  # path in the project -> source text, of the modules that this process imported


def root_of(package: str) -> Path | None:
    """The folder of the project, or else of its engine, that holds the top-level `package`; None for all others."""
    return next((root for root in ROOTS if (root / package / "__init__.py").is_file()), None)


def _keep(module: str, path: str, source: bytes) -> None:
    if root := root_of(module.partition(".")[0]):
        imported[Path(path).relative_to(root).as_posix()] = source


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        _keep(fullname, path, source)
        return self.source_to_code(source, path)


class _Finder:
    """Finds a project's module where `code.closure` looks for it: no compiled one, no other folder on the path."""

    def __init__(self) -> None:
        self.roots: dict[str, Path | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, *parts = name.split(".")
        if top not in self.roots:
            self.roots[top] = root_of(top)
        if (root := self.roots[top]) is None:
            return None
        folder = root.joinpath(top, *parts)
        if path is not None and str(folder.parent) not in path:
            return None  # below a package that was imported from elsewhere
        for file in (folder / "__init__.py", folder.with_suffix(".py")):
            if file.is_file():
                below = [str(folder)] if file.parent == folder else None
                loader = _Loader(name, str(file))
                return importlib.util.spec_from_file_location(
                    name, file, loader=loader, submodule_search_locations=below
                )
        return None


def import_from_source() -> None:
    """From now on, and of what was imported already: start again where that was not of its source."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if sys.pycache_prefix:  # bytecode that nobody compared with its source
        sys.pycache_prefix, sys.dont_write_bytecode = None, True
        os.environ.pop("PYTHONPYCACHEPREFIX", None)
    stale = [module for module in [*sys.modules.values()] if not _of_its_source(module)]
    remove_bytecode()
    if stale:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(place, _Finder())


def _of_its_source(module: ModuleType) -> bool:
    """Whether a module that was imported already ran as its text is now; those of others are not looked at."""
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    if not spec or not spec.origin or not root_of(spec.name.partition(".")[0]):
        return True
    source = Path(spec.origin).read_bytes()
    _keep(spec.name, spec.origin, source)
    return not (spec.cached and os.path.exists(spec.cached)) or _same_code(Path(spec.cached), source, spec.origin)


def _same_code(bytecode: Path, source: bytes, path: str) -> bool:
    try:
        return bool(marshal.loads(bytecode.read_bytes()[16:]) == compile(source, path, "exec", dont_inherit=True))
    except (ValueError, EOFError, TypeError, SyntaxError):
        return False


def remove_bytecode() -> None:
    """Remove the project's bytecode; exit where some that is not of its source has to stay."""
    for package in (package for root in ROOTS for package in root.glob("*/__init__.py")):
        for folder, _, files in os.walk(package.parent):
            if os.path.basename(folder) == "__pycache__":
                for name in files:
                    if _LOADED.search(name):
                        _remove(Path(folder, name))


def _remove(bytecode: Path) -> None:
    try:
        bytecode.unlink(missing_ok=True)
    except OSError as error:
        source = Path(importlib.util.source_from_cache(str(bytecode)))
        if source.is_file() and not _same_code(bytecode, source.read_bytes(), str(source)):
            sys.exit(f"Error: {bytecode} is not of its source and cannot be removed: {error.strerror}\n"
                     " Delete it, or run from a checkout of your own.")  # fmt: skip
