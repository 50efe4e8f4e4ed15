"""The packages of each environment that runs used. One record is fetched for each environment, not for each run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from provenance.impact.recorded import AT_ONCE, RecordedRun
from provenance.record import names
from provenance.record.artifacts import ArtifactError, small_file
from provenance.record.environment import Environment, LockError

TRIES = 5  # records that are fetched to learn of one environment, if the first ones are gone or were altered
PYTHON = "python"


def canonical(name: str) -> str:
    """The name of a package in the one form that names are compared in."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_of(runs: Iterable[RecordedRun]) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Key of an environment -> its packages, name -> version; and the keys of those that no record tells of.

    Only the packages that the lock names are part of the key, so others are left out. Python is among them.
    """
    users: dict[str, list[RecordedRun]] = {}
    for run in runs:
        users.setdefault(run.environment, []).append(run)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = dict(zip(users, threads.map(_first, users.values()), strict=True))
    known = {key: packages for key, packages in found.items() if packages is not None}
    return known, sorted(found.keys() - known.keys())


def _first(runs: list[RecordedRun]) -> Mapping[str, str] | None:
    for run in sorted(runs, key=lambda run: (not run.active, -run.ended))[:TRIES]:
        if packages := _packages(run):
            return packages
    return None


def _packages(run: RecordedRun) -> Mapping[str, str] | None:
    """The packages of a run, if its record has the environment that its tag names."""
    try:
        record = json.loads(small_file(f"runs:/{run.run_id}/{names.LINEAGE_FILE}"))
        environment = Environment.from_dict(record["environment"])
    except (ArtifactError, LockError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if environment.key_part != run.environment:
        return None
    # What was edited after its installation is recorded as "1.0 (edited: ...)".
    versions = {canonical(name): version.partition(" ")[0] for name, version in environment.packages.items()}
    return {**versions, PYTHON: environment.python.rpartition(" ")[2]}
