"""Whether the files of the installed packages are those that were installed, and their bytecode is of their source.

The first look at an environment compares every file with the digest in its package's RECORD and compiles every module:
seconds, once. What it saw is kept with each file's size, times and inode. Later looks read only these (a tenth of a
second) and compare again the files where one of them moved. Needs the standard library alone; run as a program, it is
one of several that compare.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import csv
import hashlib
import importlib.util
import json
import marshal
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

TYPE_CHECKING = False  # as of typing, which takes longer to import than all of the above
if TYPE_CHECKING:
    from typing import IO, Any, TypeAlias

    Stats: TypeAlias = Mapping[str, tuple[int, ...]]  # as _stats gives them
    Rows: TypeAlias = dict[str, list[Any]]  # path -> stat, digest wanted, digest seen, package and version: of JSON

KEPT = "checked-files"  # in the environment, else in the user's cache: what was found
ROWS = "checked-files-rows"  # beside it: each file
VERSION = 2  # of what is kept
FEW = 200  # files that this process compares itself
SUFFIXES = (".py", ".so", ".pyd", ".pyc")  # what Python imports
SITES = ("site-packages", "dist-packages")
LAUNCHER = ("launcher.pth", "_virtualenv.pth", "distutils-precedence.pth")  # our own, uv's and setuptools'
_CACHED = re.compile(rf"(.*/)?__pycache__/([^/]+)\.{sys.implementation.cache_tag}(?:\.opt-\d)?\.pyc")
STARTERS = ("sitecustomize", "usercustomize")
CERTIFICATES = "cacert.pem"  # whom a connection trusts: a company adds its own authority, and no result depends on it


def altered(folders: list[str], *, cure: bool = False) -> dict[str, str]:
    """Name of a package, or file -> what is not as installed, with a digest of it; {} where all is.

    folders: where packages are installed, in the order of the path.
    cure: the environment was just built; bytecode that is missing or not of its source is compiled, not reported.
    """
    found: dict[str, str] = {}
    passed: set[str] = set()
    stamps = _early.stamps()
    for folder in folders:
        here = _altered(folder, stamps.get(folder), cure)
        found |= {name: what for name, what in here.items() if name not in passed}
        passed |= {*map(_package, _infos(folder))}  # of two the first is imported
    return found | _starters()


def _altered(folder: str, stamp: str | None, cure: bool) -> dict[str, str]:
    kept = _read(folder, KEPT)
    if stamp and not cure and kept.get("stamp") == stamp:
        return dict(kept["altered"])
    stats = _stats(folder)
    if not cure and kept.get("stamp") == _stamp(stats):
        return dict(kept["altered"])
    from provenance.bootstrap.first_use_lock import holding_lock  # not where this runs as a program

    with holding_lock(_places(folder, KEPT)[0].with_suffix(".lock"), "checks the installed packages"):
        kept = _read(folder, KEPT)  # by whom it was waited for
        if kept.get("stamp") != _stamp(stats) or cure:
            before = _read(folder, ROWS).get("files", {}) if kept else {}
            found, rows = _compared(folder, stats, before, cure)
            if cure:  # bytecode was written
                stats = _stats(folder)
                rows = {path: [list(stats[path]), *row[1:]] for path, row in rows.items() if path in stats}
            kept = {"stamp": _stamp(stats), "altered": found, "compiled": _compiled(folder, stats, cure)}
            if _keep(folder, ROWS, {"files": rows}):
                _keep(folder, KEPT, kept)
    return dict(kept["altered"])


def package_folders() -> list[str]:
    """The folders on the path in which packages are installed."""
    folders = dict.fromkeys(entry or "." for entry in sys.path)
    return [folder for folder in folders if os.path.basename(folder) in SITES or _infos(folder)]


def compiled() -> bool:
    """Whether all that this interpreter's environment has was compiled, and its bytecode is still there."""
    folders = [folder for folder in package_folders() if folder.startswith(sys.prefix)]
    return bool(folders) and all(_still_compiled(folder, _read(folder, KEPT).get("compiled")) for folder in folders)


def _still_compiled(folder: str, bytecode: list[str] | None) -> bool:
    return bytecode is not None and all(os.path.isfile(os.path.join(folder, path)) for path in bytecode)


def _compiled(folder: str, stats: Stats, cure: bool) -> list[str] | None:
    """Bytecode of each module at the top, by which to know later that all is compiled; None where some has none.

    cure: all was compiled just now, where it can be written.
    """
    owner, _ = _records(folder)
    top = (path for path in owner if path.removesuffix("/__init__.py").count("/") == 0)
    wanted = [_bytecode(path) for path in top if path.endswith(".py")]
    there = [path for path in wanted if path in stats]
    return there if cure or len(there) == len(wanted) else None


class _Early:
    """A look that runs in a process of its own while this one imports what takes seconds."""

    worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-I", "-S", __file__, *package_folders()]
        with contextlib.suppress(OSError):
            self.worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            atexit.register(self.stamps)

    def stamps(self) -> dict[str, str]:
        """Folder -> stamp, once."""
        worker, self.worker = self.worker, None
        with contextlib.suppress(ValueError):
            return dict(json.loads(worker.communicate()[0])) if worker else {}
        return {}


_early = _Early()
look_early = _early.start


def _stamp(stats: Stats) -> str:
    return hashlib.sha256(repr([VERSION, sys.version, stats]).encode("utf-8", "surrogateescape")).hexdigest()


def _stats(folder: str) -> dict[str, tuple[int, ...]]:
    """Path in `folder` -> (size, time of content, time of change, inode) of every file below it."""
    found: dict[str, tuple[int, ...]] = {}
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(os.path.join(folder, below)))
        except OSError:
            continue
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                else:
                    stat = entry.stat()
                    found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            except OSError:  # a link to nowhere
                found[name] = ()
    return dict(sorted(found.items()))


def _compared(folder: str, stats: Stats, before: Rows, cure: bool) -> tuple[dict[str, str], Rows]:
    """What differs, and the rows to keep.

    Wanted is what RECORD gave when the package was seen first: a RECORD that is edited later is not believed.
    """
    owner, wanted = _records(folder)
    roots = {path.split("/")[0] for path in owner if "/" in path}
    seen = {path: row for path, row in before.items() if path in stats and row[0] == list(stats[path])}
    seen = {path: row for path, row in seen.items() if row[3] == owner.get(_source(path) or path)}
    files = [path for path in stats if path in owner or _addition(path, roots)]
    for path, digest in _look(folder, [(path, "") for path in files if path not in seen], cure).items():
        info, old = owner.get(path), before.get(path)
        first = old[1] if old and old[3] == info else wanted.get(path, "")
        seen[path] = [list(stats[path]), first, digest, info]
    # Bytecode is looked at again when it is another file, or its source has another content.
    bytecode = {path: source for path in stats if (source := _source(path)) in owner and source in stats}
    if cure:
        modules = (path for path in files if path.endswith(".py") and path in owner)
        bytecode |= {place: path for path in modules if (place := _bytecode(path)) not in bytecode}
    look = [
        (path, source)
        for path, source in bytecode.items()
        if path not in seen or source not in before or before[source][2] != seen[source][2]
    ]
    for path, digest in _look(folder, look, cure).items():
        seen[path] = [list(stats.get(path, ())), "ok", digest, owner[bytecode[path]]]
    found: dict[str, dict[str, str | None]] = {}  # package -> path -> SHA-256 hex, None for a file that is not there
    for path, (_, expected, digest, info) in seen.items():
        if digest != expected and os.path.basename(path) != CERTIFICATES:
            name = _package(info) if info else _owner_of(path, owner)
            found.setdefault(name, {})[path] = digest
    for path in sorted(wanted.keys() - stats.keys()):
        found.setdefault(_package(owner[path]), {})[path] = None
    texts = {name: _text(files) for name, files in found.items()}
    nothing = [_package(info) for info in _infos(folder) if not os.path.isfile(os.path.join(folder, info, "RECORD"))]
    texts |= {name: "no RECORD to compare its files with" for name in nothing}
    return texts | _startup_files(folder, stats, owner), seen


def _text(files: Mapping[str, str | None]) -> str:
    """What of one package is not as installed. It is recorded, and part of the key: another text is another key."""
    lines = {f"{path}, absent" if digest is None else f"{path}, sha256 {digest[:12]}": path for path, digest
             in files.items()}  # fmt: skip
    first, *more = sorted(lines)
    if not more:
        return f"changed: {first}"
    whole = hashlib.sha256("\n".join([first, *more]).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    path = lines[first]
    return f"{len(lines)} files changed, digest {whole}, first {first if files[path] is None else path}"


def _infos(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".dist-info"))
    except OSError:
        return []


def _package(info: str) -> str:
    """The normalised name in that of a .dist-info folder."""
    return re.sub(r"[-_.]+", "-", info.partition("-")[0]).lower()


def _records(folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """(path -> its package's .dist-info, path -> SHA-256 hex) of what the packages in `folder` say they installed."""
    owner: dict[str, str] = {}
    wanted: dict[str, str] = {}
    for info in _infos(folder):
        with (
            contextlib.suppress(OSError, ValueError),
            open(os.path.join(folder, info, "RECORD"), newline="", encoding="utf-8") as file,
        ):
            for path, digest, *_ in csv.reader(file):
                if path.startswith(("../", "/")) or ".dist-info/" in path or _source(path):
                    continue  # scripts, what installers write themselves, and bytecode, which is judged by its source
                owner[path] = info
                if digest.startswith("sha256="):
                    wanted[path] = base64.urlsafe_b64decode(digest[7:] + "=" * (-len(digest[7:]) % 4)).hex()
    return owner, wanted


def _addition(path: str, roots: set[str]) -> bool:
    """Whether a file that no RECORD names would be imported as a part of an installed package."""
    folder, _, name = path.rpartition("/")
    return name.endswith(SUFFIXES) and folder.split("/")[0] in roots and not folder.endswith("__pycache__")


def _owner_of(path: str, owner: Mapping[str, str]) -> str:
    """The package that a file which no RECORD names would be imported with: who has most beside and above it."""
    folder = path.rpartition("/")[0]
    while folder:
        names = [_package(info) for known, info in owner.items() if known.startswith(f"{folder}/")]
        if names:
            return max(sorted({*names}), key=names.count)
        folder = folder.rpartition("/")[0]
    return path


def _source(path: str) -> str:
    """The source that a file of __pycache__ should be of; "" for any other file, and for what Python does not load."""
    found = _CACHED.fullmatch(path)
    return f"{found[1] or ''}{found[2]}.py" if found else ""


def _bytecode(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return (f"{folder}/" if folder else "") + f"__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"


def _look(folder: str, look: list[tuple[str, str]], cure: bool) -> dict[str, str]:
    """Path -> digest; "ok" for bytecode that is of its source. Many files are divided among processes."""
    if len(look) <= FEW:
        return _digests(folder, look, cure)
    what = f"{len(look):,} files of the packages in {folder}"
    doing = "checking" if not look[0][1] else "compiling, once," if cure else "comparing with their sources"
    print(f"{doing} {what}", file=sys.stderr, flush=True)  # fmt: skip
    count = max(1, os.cpu_count() or 1)
    workers = [
        subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        digests: dict[str, str] = {}
        for number, worker in enumerate(workers):
            given, _ = _pipes(worker)
            given.write(json.dumps([folder, look[number::count], cure]).encode())
            given.close()
        for worker in workers:
            digests |= json.loads(_pipes(worker)[1].read())
        return digests
    except (OSError, ValueError):  # one was killed
        return _digests(folder, look, cure)
    finally:
        for worker in workers:
            worker.kill()
            if worker.stdout:
                worker.stdout.close()
            worker.wait()


def _pipes(worker: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Where it reads and where it writes. Raises OSError for a process that was started without."""
    if worker.stdin is None or worker.stdout is None:
        raise OSError("a process without pipes")
    return worker.stdin, worker.stdout


def _digests(folder: str, look: Iterable[tuple[str, str]], cure: bool) -> dict[str, str]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what others wrote
        for path, source in look:
            file = os.path.join(folder, path)
            try:
                if source:
                    found[path] = _bytecode_digest(file, os.path.join(folder, source), cure)
                else:
                    with open(file, "rb") as opened:
                        found[path] = hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                found[path] = error.strerror or "unreadable"
    return found


def _bytecode_digest(file: str, source: str, cure: bool) -> str:
    """ "ok", or the SHA-256 of bytecode that is not of its source."""
    with open(source, "rb") as opened:
        text = opened.read()
    optimised = re.search(r"\.opt-(\d)\.pyc$", file)
    try:
        code = compile(text, source, "exec", dont_inherit=True, optimize=int(optimised[1]) if optimised else 0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "ok"  # a template, or of another Python: it is never imported
    content = b""
    with contextlib.suppress(OSError), open(file, "rb") as opened:
        content = opened.read()
    with contextlib.suppress(ValueError, EOFError, TypeError):
        if content[:4] == importlib.util.MAGIC_NUMBER and marshal.loads(content[16:]) == code:
            return "ok"
        if content[:4] != importlib.util.MAGIC_NUMBER and content:
            return "ok"  # of another Python, which this one does not load
    if not cure:
        return hashlib.sha256(content[16:]).hexdigest()
    stat = os.stat(source)
    head = importlib.util.MAGIC_NUMBER + bytes(4)
    head += (int(stat.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (stat.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        _write(Path(file), head + marshal.dumps(code))
    except OSError:  # another user's
        return hashlib.sha256(content[16:]).hexdigest() if content else "ok"
    return "ok"


def _startup_files(folder: str, stats: Stats, owner: Mapping[str, str]) -> dict[str, str]:
    """.pth files that run code when Python starts and that no package brought."""
    found = {}
    for path in stats:
        if "/" in path or not path.endswith(".pth") or path in owner or path in LAUNCHER:
            continue
        with contextlib.suppress(OSError):
            content = Path(folder, path).read_bytes()
            if any(line.startswith((b"import ", b"import\t")) for line in content.splitlines()):
                found[path] = f"runs code at start, sha256 {hashlib.sha256(content).hexdigest()[:12]}"
    return found


def _starters() -> dict[str, str]:
    """Modules that Python imports by itself at its start, except the system's own."""
    found = {}
    for name in STARTERS:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and not os.path.samefile(os.path.dirname(file), os.path.dirname(os.__file__)):
            found[f"{name}.py"] = f"runs at start, sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}"
    return found


def _places(folder: str, name: str) -> list[Path]:
    made = sys.prefix != sys.base_prefix or Path(sys.prefix, "conda-meta").is_dir()  # not the system's own Python
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = f"{name}-{hashlib.sha256(os.fsencode(os.path.relpath(folder, sys.prefix))).hexdigest()[:8]}.json"
    where = hashlib.sha256(os.fsencode(sys.prefix)).hexdigest()[:16]
    own = [Path(sys.prefix, name)] if made and folder.startswith(sys.prefix) else []
    return [*own, Path(cache, "mlflow-environments", where, name)]


def _read(folder: str, name: str) -> dict[str, Any]:
    """What the last look kept; {} where there was none, or what it left cannot be read."""
    for place in _places(folder, name):
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(place.read_bytes())
            if isinstance(kept, dict) and isinstance(kept.get("altered" if name == KEPT else "files"), dict):
                return kept
    return {}


def _keep(folder: str, name: str, what: dict[str, Any]) -> bool:
    for place in _places(folder, name):
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, json.dumps(what).encode())
            return True
    return False


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: another process may read it meanwhile."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


if __name__ == "__main__":
    if sys.argv[1:]:
        json.dump({folder: _stamp(_stats(folder)) for folder in sys.argv[1:]}, sys.stdout)
    else:
        folder, look, cure = json.load(sys.stdin)
        json.dump(_digests(folder, look, cure), sys.stdout)
