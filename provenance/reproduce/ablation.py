"""Find out which difference changes a metric: repeat run `a` with one factor at a time taken from run `b`."""

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
WORKERS = (
    DifferenceKind.PLACEMENT,
    "workers",
)  # the only placement parameter that can be taken from b: other machines have other locations and engines


@dataclass(frozen=True)
class Factor:
    """What is taken from b: parameters, the location of external inputs, the code, the lock or environment variables.

    name: a description for people.
    changes: parameter -> value.
    source, code, lock: whether external inputs, code or lock are taken from b.
    variables: environment variable -> value; None removes it.
    """

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    source: bool = False
    code: bool = False
    lock: bool = False
    variables: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The effect of one factor: the verdict on the steps of a, repeated with it."""

    factor: Factor
    verdict: Verdict


@dataclass(frozen=True)
class Effect:
    """The effect of one factor on a metric: its value in a, in b, and now in a with the factor."""

    step: str
    metric: str
    in_a: float
    in_b: float
    now: float

    @property
    def share(self) -> float | None:
        """The share of the whole difference that the factor alone makes; None if there is no difference."""
        whole = self.in_b - self.in_a
        return (self.now - self.in_a) / whole if whole else None


def factors(comparison: Comparison, b: list[RecordedRun]) -> tuple[list[Factor], list[RankedDifference]]:
    """The factors to try, in the order of the differences, and the differences that cannot be tried on this machine."""
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
    """The factor that takes `difference` from b; None if that is not possible on this machine.

    modules: paths of all code that differs. located: whether the record of b gives a location of external inputs.
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
    """The effect of one factor on the first metric that differs between a and b; None if there is no such metric."""
    rows = comparison.metrics or [(step.step, *row) for step in reversed(verdict.steps) for row in step.metrics][:1]
    made = {(step.step, name): now for step in verdict.steps for name, _, now in step.metrics}
    for step, metric, in_a, in_b in rows:
        now = made.get((step, metric))
        if now is not None and in_a is not None and in_b is not None:
            return Effect(step, metric, in_a, in_b, now)
    return None


def prove(session: Session, a: list[RecordedRun], b: list[RecordedRun], code: RecordedCode, options: ReplayOptions,
          wanted: list[Factor]) -> list[Outcome]:  # fmt: skip
    """Try each factor, and return the outcomes. The first one is the control: `a` repeated without any change."""
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
    """The projects of a, with the code or the lock of the same step of b if the factor says so."""

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
