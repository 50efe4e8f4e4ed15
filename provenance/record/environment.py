"""The environment of a run: the lock, the installed packages, Python and the machine."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from provenance.bootstrap.installed_files import altered, package_folders
from provenance.record.difference import Difference, DifferenceKind, changed_values
from provenance.record.digest import Json, JsonObject, digest_json
from provenance.record.hardware import cpu_model, variables
from provenance.record.packages import ABSENT, installed, locked, same_version
from runtime.cores import cores

LOCK = "requirements.lock"
CONDA = "conda.yaml"


class LockError(ValueError):
    """The lock or conda.yaml is missing, or does not pin each package."""


@dataclass(frozen=True)
class Environment:
    """What is recorded of a run's environment.

    lock_digest: SHA-256 of requirements.lock.
    packages: name -> installed version, or "absent", of each package that the lock names for this platform.
    differences: (name, version in the lock, what is installed), sorted. The name "python" stands for the version in
        conda.yaml. A package with edited files is a difference, and so is an added file that runs when Python starts.
    extras: name -> version of packages that are installed but not in the lock. They are not part of the key.
    threads: name -> value of the environment variables that control threads and numeric kernels.
    """

    lock_digest: str
    python: str
    packages: dict[str, str]
    differences: tuple[tuple[str, str, str], ...]
    extras: dict[str, str]
    platform: str
    machine: str
    cpu: str
    cores: int
    manager: str
    threads: dict[str, str]

    @property
    def key_part(self) -> str:
        """SHA-256 of what can change a result: lock, Python and differences. Machine and manager are not included."""
        return digest_json([self.lock_digest, self.python, self.differences])

    @property
    def locked(self) -> dict[str, str]:
        """Name -> version in the lock, of each package that the lock names for this platform."""
        return self.packages | {name: version for name, version, _ in self.differences if name in self.packages}

    def to_dict(self) -> dict[str, Json]:
        """Plain values, for JSON."""
        return asdict(self) | {"differences": [list(difference) for difference in self.differences]}

    @classmethod
    def from_dict(cls, value: JsonObject) -> Environment:
        """Read what `to_dict` returned. Raises LockError for anything else: the record may come from a stranger."""
        try:
            given = {field.name: value[field.name] for field in fields(cls)}
            rows = tuple(tuple(row) for row in given.pop("differences"))
            found = cls(differences=rows, **given)
        except (KeyError, TypeError, ValueError) as error:
            raise LockError(f"Not an environment record ({error!r}): altered, or written by another version.") from None
        tables = (found.packages, found.extras, found.threads)
        texts = [value for field in fields(cls) if field.type == "str" for value in [getattr(found, field.name)]]
        texts += [text for row in rows for text in row]
        texts += [text for table in tables if isinstance(table, dict) for pair in table.items() for text in pair]
        sound = all(isinstance(table, dict) for table in tables) and all(len(row) == 3 for row in rows)
        if not sound or type(found.cores) is not int or not all(isinstance(text, str) for text in texts):
            raise LockError("Not an environment record (a field is not text): altered, or written by another version.")
        return found


def current(root: str | Path, manager: str) -> Environment:
    """The environment of this process, for the project in `root`; manager: "uv", "conda", "virtualenv" or "local".

    Raises LockError if the lock or conda.yaml is missing or does not pin each package.
    """
    root = Path(root)
    text = _read(root / LOCK)
    try:
        wanted = locked(text.decode())
    except ValueError as error:
        raise LockError(f"{root / LOCK}: {error}") from None
    found = installed()
    changed = altered(package_folders())
    beside = {name: what for name, what in changed.items() if name.endswith((".py", ".pth"))}
    changed = {name: what for name, what in changed.items() if name in wanted}
    found |= {name: f"{found.get(name, ABSENT)} ({what})" for name, what in changed.items()}
    python = platform.python_version()
    if platform.python_implementation() != "CPython":
        python = f"{platform.python_implementation()} {python}"
    asked = re.search(rb"(?m)^\s*-\s*python\s*==?\s*([\w.]+)\s*$", _read(root / CONDA))
    packages = {name: found.get(name, ABSENT) for name in wanted}
    differences = [
        (name, wanted[name], there) for name, there in packages.items() if not same_version(wanted[name], there)
    ]
    differences += [(name, ABSENT, what) for name, what in sorted(beside.items())]
    if asked and asked[1].decode() != python:
        differences.insert(0, ("python", asked[1].decode(), python))
    return Environment(
        lock_digest=hashlib.sha256(text).hexdigest(),
        python=python,
        packages=packages,
        differences=tuple(differences),
        extras={name: version for name, version in found.items() if name not in wanted},
        platform=platform.platform(),
        machine=platform.machine(),
        cpu=cpu_model(),
        cores=cores(),
        manager=manager,
        threads=variables(),
    )


class EnvironmentChanged(ValueError):
    """The installed packages were changed while a run worked."""


def unchanged(root: str | Path, before: Environment) -> None:
    """Raise EnvironmentChanged if this process's environment differs from `before` in a part of the key."""
    now = current(root, before.manager)
    if now.key_part != before.key_part:
        moved = sorted({name for name, *_ in {*before.differences} ^ {*now.differences}}) or [LOCK]
        raise EnvironmentChanged(
            f"the environment {sys.prefix} was changed while this run worked: {', '.join(moved[:3])}\n"
            " Nothing of the run can be used. Run it again."
        )


def environment_differences(a: Environment, b: Environment) -> list[Difference]:
    """The differences between `a` and `b`, the most likely cause of another result first."""
    found = _facts(a, b, DifferenceKind.PYTHON)
    lock = changed_values(DifferenceKind.LOCKED, a.locked, b.locked)
    if a.lock_digest != b.lock_digest and not lock:
        lock = [Difference(DifferenceKind.LOCK_TEXT, LOCK, a.lock_digest, b.lock_digest)]
    by_lock = {(package.subject, package.before, package.after) for package in lock}
    really = changed_values(DifferenceKind.INSTALLED, a.packages, b.packages)
    found += [*lock, *(one for one in really if (one.subject, one.before, one.after) not in by_lock)]
    found += changed_values(DifferenceKind.VARIABLE, a.threads, b.threads)
    found += _facts(a, b, DifferenceKind.CPU, DifferenceKind.MACHINE, DifferenceKind.PLATFORM,
                    DifferenceKind.CORES, DifferenceKind.MANAGER)  # fmt: skip
    return found + changed_values(DifferenceKind.BESIDE_THE_LOCK, a.extras, b.extras)


def _facts(a: Environment, b: Environment, *kinds: DifferenceKind) -> list[Difference]:
    """The differences in the fields that have the names of these kinds."""
    values = [(kind, str(getattr(a, kind.label)), str(getattr(b, kind.label))) for kind in kinds]
    return [Difference(kind, kind.label, before, after) for kind, before, after in values if before != after]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LockError(
            f"{path} cannot be read ({error.strerror}). Run from a whole checkout of the project."
        ) from None
