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
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EARLY = (
    "steps",
    "provenance",
    "provenance.bootstrap",
    "provenance.bootstrap.shadowing",
    __name__,
)  # imported before this could see to it
_LOADED = re.compile(rf"\.{sys.implementation.cache_tag}(\.opt-\d)?\.pyc$")  # what this Python would take

imported: dict[str, bytes] = {}  # path in the project -> source text, of the modules that this process imported


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str):
        path = self.get_filename(fullname)
        source = self.get_data(path)
        imported[Path(path).relative_to(ROOT).as_posix()] = source
        return self.source_to_code(source, path)


class _Finder:
    """Finds a project's module where `code.closure` looks for it: no compiled one, no other folder on the path."""

    def __init__(self):
        self.ours: dict[str, bool] = {}

    def find_spec(self, name: str, path=None, target=None):
        top, *parts = name.split(".")
        if top not in self.ours:
            self.ours[top] = (ROOT / top / "__init__.py").is_file()
        if not self.ours[top]:
            return None
        folder = ROOT.joinpath(top, *parts)
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
    stale = [name for name in EARLY if name in sys.modules and not _of_its_source(sys.modules[name])]
    remove_bytecode()
    if stale:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(place, _Finder())


def _of_its_source(module) -> bool:
    spec = module.__spec__
    source = Path(spec.origin).read_bytes()
    imported[Path(spec.origin).relative_to(ROOT).as_posix()] = source
    return not (spec.cached and os.path.exists(spec.cached)) or _same_code(Path(spec.cached), source, spec.origin)


def _same_code(bytecode: Path, source: bytes, path: str) -> bool:
    try:
        return marshal.loads(bytecode.read_bytes()[16:]) == compile(source, path, "exec", dont_inherit=True)
    except (ValueError, EOFError, TypeError, SyntaxError):
        return False


def remove_bytecode() -> None:
    """Remove the project's bytecode; exit where some that is not of its source has to stay."""
    for package in ROOT.glob("*/__init__.py"):
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
