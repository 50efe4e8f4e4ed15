"""Which difference moves the metric: run `a` again with one factor at a time taken from `b`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from provenance.pipeline.session import Session
from provenance.record.difference import Difference, DifferenceKind
from provenance.record.environment import CONDA, LOCK
from provenance.reproduce.compare import Comparison, RankedDifference
from provenance.reproduce.recorded_code import RecordedCode
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.reproduce import RECORDED, ReplayOptions, location_of, reproduce
from provenance.reproduce.verdict import Verdict

CONTROL = "nothing: a again"
WORKERS = (DifferenceKind.PLACEMENT, "workers")  # can be taken from b; where the inputs lie or an engine runs cannot


@dataclass(frozen=True)
class Factor:
    """One thing to take from b: parameters, the source of external inputs, the code, the lock, environment variables.

    `name` is for people.
    """

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    source: bool = False
    code: bool = False
    lock: bool = False
    variables: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one factor did: the verdict on a's steps with it."""

    factor: Factor
    verdict: Verdict


@dataclass(frozen=True)
class Effect:
    """What one factor did to a metric: its value in a, in b and in a with the factor."""

    step: str
    metric: str
    in_a: float
    in_b: float
    now: float

    @property
    def share(self) -> float | None:
        """The part of the whole difference that the factor alone makes; None when there is no difference."""
        whole = self.in_b - self.in_a
        return (self.now - self.in_a) / whole if whole else None


def factors(comparison: Comparison, b: list[RecordedRun]) -> tuple[list[Factor], list[RankedDifference]]:
    """What can be tried, in the order of the causes, and the causes that cannot be tried on this machine."""
    wanted: list[Factor] = []
    untried: list[RankedDifference] = []
    located = any(original.external for original in b)
    for found in comparison.found:
        factor = _factor(found.difference, comparison.modules, located)
        if factor is None:
            untried.append(found)
        elif factor not in wanted:
            wanted.append(factor)
    return wanted, untried


def _factor(difference: Difference, modules: list[str], located: bool) -> Factor | None:
    """How to take `difference` from b; None when that cannot be done here.

    modules: paths of all the code that differs. located: whether b's record says where its external inputs lie.
    """
    name, value = difference.subject, difference.after
    parameter = difference.kind is DifferenceKind.PARAMETER or (difference.kind, name) == WORKERS
    if parameter and value is not None:
        return Factor(difference.text, changes={name: value})
    if difference.kind is DifferenceKind.VARIABLE:
        return Factor(difference.text, variables={name: value})
    if difference.kind is DifferenceKind.CODE:
        return Factor(f"code: {', '.join(modules)}", code=True)
    if difference.kind is DifferenceKind.EXTERNAL_INPUT and located:
        return Factor(f"{difference.noun}s", source=True)
    if difference.kind in (DifferenceKind.LOCKED, DifferenceKind.LOCK_TEXT, DifferenceKind.PYTHON):
        return Factor("packages as b has them locked", lock=True)
    return None


def effect(verdict: Verdict, comparison: Comparison) -> Effect | None:
    """What one factor did to the first metric that differs between a and b; None when there is no such metric."""
    rows = comparison.metrics or [(step.step, *row) for step in reversed(verdict.steps) for row in step.metrics][:1]
    made = {(step.step, name): now for step in verdict.steps for name, _, now in step.metrics}
    for step, metric, in_a, in_b in rows:
        now = made.get((step, metric))
        if now is not None and in_a is not None and in_b is not None:
            return Effect(step, metric, in_a, in_b, now)
    return None


def prove(session: Session, a: list[RecordedRun], b: list[RecordedRun], code: RecordedCode, options: ReplayOptions,
          wanted: list[Factor]) -> list[Outcome]:  # fmt: skip
    """Each factor's outcome, the control first: what `a` gives again with nothing changed."""
    outcomes = []
    for factor in [Factor(CONTROL), *wanted]:
        session.say(f"a with {factor.name}")
        location = options.location
        if factor.source:
            one = next(one for one in b if one.external)
            if external := session.pipeline.external(one.lineage.step):
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
