"""Files that would be imported in place of the standard library's modules or of the lock's packages.

A package that is installed elsewhere on the path, with its RECORD, is no such file: environment.py records it.
Looked for before anything else is imported, so it needs `sys` and `os` alone, which the interpreter has loaded itself.
"""

import os
import sys

STANDARD_LIBRARY = os.path.dirname(os.__file__)
SUFFIXES = (".py", ".pyc", ".so", ".pyd")


class ShadowError(ValueError):
    """A file that Python would import in place of a module of the standard library or of a locked package."""


def refuse_shadows(root: str) -> None:
    """Exit with one line when a file in `root`, on PYTHONPATH or in the user's site-packages shadows a module."""
    try:
        check_shadows(root, sys.path, environment_folders())
    except ShadowError as error:
        sys.exit(f"Error: {error}")


def environment_folders() -> list[str]:
    """The site-packages of this interpreter's environment, without the user's own."""
    site = sys.modules.get("site")
    folders = site.getsitepackages(dict.fromkeys([sys.prefix, sys.exec_prefix])) if site else []
    return [folder for folder in folders if os.path.isdir(folder)]


def check_shadows(root: str, path: list[str], folders: list[str]) -> None:
    """Raise ShadowError when an entry of `path` that comes before `folders`, the environment's, shadows a module."""
    proper = {os.path.realpath(folder) for folder in folders}
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    library = {os.path.realpath(os.path.join(STANDARD_LIBRARY, part)) for part in ("", "lib-dynload", f"../{archive}")}
    present = {name for folder in folders for name in _modules(folder)}
    known: frozenset[str] = getattr(
        sys, "stdlib_module_names", frozenset()
    )  # a Python before 3.10 has none, and ends at once
    standard = known.difference(sys.builtin_module_names)
    seen: set[str] = set()  # of the two, what was passed already: what comes later on the path shadows nothing of it
    for entry in dict.fromkeys(os.path.realpath(entry or ".") for entry in path):
        if entry in proper or entry in library:
            if os.path.isdir(entry):
                seen.add("environment" if entry in proper else "library")
            continue
        if len(seen) == 2:
            return
        for name, file in sorted(_modules(entry).items()):
            if "library" not in seen and name in standard:
                what = f"the standard library's {name}"
            elif (
                "environment" not in seen
                and name in present
                and _locked(name, root, folders)
                and not _locked(name, root, [entry])  # then it is installed there, checked and recorded as such
            ):
                what = f"the environment's {name}"
            else:
                continue
            raise ShadowError(f"{file} would be imported in place of {what}\n {_remedy(entry, root)}")


def _remedy(entry: str, root: str) -> str:
    if entry == os.path.realpath(root):
        return "Rename the file, or move it out of the project's folder."
    if entry in (os.path.realpath(given or ".") for given in os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        return f"Unset PYTHONPATH, or take {entry} out of it."
    return f"Set PYTHONNOUSERSITE=1, or take {entry} off Python's path."


def _modules(folder: str) -> dict[str, str]:
    """Name -> file or folder, of what could be imported from `folder`, an archive of modules included."""
    found: dict[str, str] = {}
    try:
        names = os.listdir(folder)
    except NotADirectoryError:
        return _archived(folder)
    except OSError:
        return {}
    for name in names:
        where = os.path.join(folder, name)
        stem, dot, _ = name.partition(".")
        if name.endswith(SUFFIXES) or (not dot and stem.isidentifier() and stem != "__pycache__" and _package(where)):
            found[stem] = where
    return found


def _package(folder: str) -> bool:
    """Whether a folder holds modules or packages: one without __init__.py is a package, too."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.endswith(SUFFIXES) for name in names) or any(
        os.path.isfile(os.path.join(folder, name, "__init__.py")) for name in names
    )


def _archived(file: str) -> dict[str, str]:
    import zipfile  # from the standard library, unless an entry before this one was refused

    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.split("/")[0] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return {}
    return {name.partition(".")[0]: os.path.join(file, name) for name in names}


def _locked(module: str, root: str, folders: list[str]) -> bool:
    """Whether a package that requirements.lock names brought the top-level `module`."""
    with open(os.path.join(root, "requirements.lock"), encoding="utf-8") as lock:
        pinned = {_normal(line.partition("==")[0]) for line in lock if "==" in line and line[0].isalnum()}
    for folder in filter(os.path.isdir, folders):
        for name in os.listdir(folder):
            if name.endswith(".dist-info") and _normal(name.partition("-")[0]) in pinned:
                try:
                    with open(os.path.join(folder, name, "RECORD"), encoding="utf-8") as record:
                        if any(line.startswith((f"{module}/", f"{module}.")) for line in record):
                            return True
                except OSError:
                    continue
    return False


def _normal(name: str) -> str:
    return name.strip().partition("[")[0].lower().replace("_", "-").replace(".", "-")
