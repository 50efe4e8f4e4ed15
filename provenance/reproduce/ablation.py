"""Which difference moves the metric: run `a` again with one factor at a time taken from `b`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from provenance.pipeline.session import Session
from provenance.record.environment import CONDA, LOCK
from provenance.reproduce.compare import Comparison, RankedDifference
from provenance.reproduce.recorded_code import RecordedCode
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.reproduce import RECORDED, ReplayOptions, location_of, reproduce
from provenance.reproduce.verdict import Verdict

CONTROL = "nothing: a again"


@dataclass(frozen=True)
class Factor:
    """One thing to take from b: parameters, where external inputs lie, the code, the lock, environment variables."""

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    code: bool = False
    lock: bool = False
    variables: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one factor did: the verdict on a's steps with it, None when it cannot be tried here."""

    factor: Factor
    verdict: Verdict | None
    why_not: str = ""


def factors(comparison: Comparison, b: list[RecordedRun]) -> tuple[list[Factor], list[RankedDifference]]:
    """What can be tried, in the order of the causes, and the causes that cannot be tried on this machine."""
    tried: dict[str, Factor] = {}
    untried: list[RankedDifference] = []
    location = next((original.location for original in b if original.external), None)
    for found in comparison.found:
        kind, text = found.difference.kind, found.difference.text
        name = text.split()[0]
        if kind == "parameters" or (kind == "threads" and name == "workers"):
            tried[text] = Factor(text, changes={name: _of(b, name)})
        elif kind == "code":
            tried["code"] = Factor(f"code: {', '.join(comparison.modules)}", code=True)
        elif kind == "data" and not text.startswith("input ") and location:
            tried["data"] = Factor("inputs as b read them", location=location)
        elif kind in ("packages", "python") and not text.startswith("installed:"):
            tried["lock"] = Factor("packages as b has them locked", lock=True)
        elif kind == "threads" and text.startswith("variable:"):
            variable, value = text.split()[1], b[-1].lineage.environment["threads"].get(text.split()[1])
            tried[text] = Factor(text, variables={variable: value})
        else:
            untried.append(found)
    return list(tried.values()), untried


def _of(b: list[RecordedRun], name: str) -> str:
    """b's value of a parameter, from the first step that takes it."""
    records = ({**original.lineage.params, **original.lineage.placement} for original in b)
    return next(record[name] for record in records if name in record)


def prove(session: Session, a: list[RecordedRun], b: list[RecordedRun], code: RecordedCode, options: ReplayOptions,
          wanted: list[Factor]) -> list[Outcome]:  # fmt: skip
    """Each factor's outcome, the control first: what `a` gives again with nothing changed."""
    outcomes = []
    for factor in [Factor(CONTROL), *wanted]:
        session.say(f"a with {factor.name}")
        location = options.location
        if factor.location:
            one = next(one for one in b if one.external)
            external = session.pipeline.external(one.lineage.step)
            location = location_of(external, one, replace(options, location=RECORDED))
        changed = replace(options, changes=factor.changes, location=location, other_code=factor.code)
        with _variables(factor.variables):
            outcomes.append(Outcome(factor, reproduce(session, a, _Mixed(code, b, factor), changed)))
    return outcomes


class _Mixed:
    """a's code, or that of the same step of b; a's lock, or b's."""

    def __init__(self, code: RecordedCode, b: list[RecordedRun], factor: Factor):
        self._code, self._factor = code, factor
        self._b = {original.lineage.step: original for original in b}

    def project(self, original: RecordedRun) -> Path:
        other = self._b[original.lineage.step]
        if self._factor.code and not self._factor.lock:
            return self._code.project(other)
        project = self._code.project(original)
        if not self._factor.lock:
            return project
        mixed = Path(f"{project}-with-lock-of-b")
        if not mixed.exists():
            shutil.copytree(project, mixed, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            for name in (LOCK, CONDA):
                shutil.copy(self._code.project(other) / name, mixed / name)
        return mixed


@contextlib.contextmanager
def _variables(wanted: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
