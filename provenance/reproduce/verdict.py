"""Judge a repetition: two records and their metrics to a grade, the first step that differs, and its likeliest causes.

Pure: reads no store, starts nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypedDict

from provenance.pipeline.declaration import Pipeline
from provenance.record import names
from provenance.record.difference import Difference, sentences
from provenance.record.lineage import Lineage
from provenance.record.problem import Problem
from provenance.record.validation import one_line
from provenance.reproduce import model_loading
from provenance.reproduce.differences import find_differences
from provenance.reproduce.model_loading import ModelFile

NO_CAUSE = "nothing that is recorded differs: look for randomness without a seed, times, or the order of a set"


class Grade(IntEnum):
    """How much of a run a repetition gave again, the worst first."""

    DIVERGED = 0
    CLOSE = 1  # every metric within the tolerance
    METRICS = 2  # every metric bit for bit, but some output's bytes differ
    IDENTICAL = 3  # every output and metric, bit for bit

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, form: str) -> str:  # else that of int
        return format(str(self), form)


# What is compared, as recorded and as repeated; None on the side that has none.
DigestRow = tuple[str, str | None, str | None]
LoadedRow = tuple[ModelFile, str | None, str | None]
MetricRow = tuple[str, float | None, float | None]
LoadedPairs = dict[ModelFile, tuple[str | None, str | None]]
GRADES = tuple(str(grade) for grade in reversed(Grade))


@dataclass(frozen=True)
class Made:
    """What one run left: its record and its metrics; of its models, as `loading.settings` gives it, how they load."""

    run_id: str
    lineage: Lineage
    metrics: Mapping[str, float]
    settings: Mapping[ModelFile, str] = field(default_factory=dict)


class Row(TypedDict):
    """One output, file or metric in JSON; a metric that JSON has no number for is text."""

    name: str
    recorded: float | str | None
    repeated: float | str | None


class StepReport(TypedDict):
    """A step's verdict in JSON. `causes` are sentences; `differences` and `damage` say the same as data."""

    step: str
    grade: str
    original: str
    repeated: str | None
    outputs: list[Row]
    loaded: list[Row]
    metrics: list[Row]
    causes: list[str]
    differences: list[dict[str, str | None]]
    damage: list[dict[str, int | str | None]]
    error: str | None


@dataclass(frozen=True)
class StepVerdict:
    """One step, as recorded and as repeated.

    outputs: (name, recorded digest or None, repeated digest or None). metrics: (name, recorded or None, repeated or
    None). damage: how artifacts of the recorded run, or that it read, are no longer what its record says. error: why
    there is no repetition. loaded: of its models, what MLflow runs when it loads them and no output's digest covers.
    """

    step: str
    original: str
    repeated: str | None
    outputs: tuple[DigestRow, ...]
    metrics: tuple[MetricRow, ...]
    differences: tuple[Difference, ...]
    damage: tuple[Problem, ...] = ()
    error: str | None = None
    tolerance: float = 0.0
    loaded: tuple[LoadedRow, ...] = ()

    @property
    def grade(self) -> Grade:
        if self.error or self.damage or self.other_code:
            return Grade.DIVERGED
        apart = [relative(before, after) for _, before, after in self.metrics]
        if not any(apart) and all(before == after for _, before, after in self.outputs):
            return Grade.IDENTICAL
        if not apart:  # no metric vouches for an output that differs
            return Grade.DIVERGED
        return Grade.METRICS if not any(apart) else Grade.CLOSE if max(apart) <= self.tolerance else Grade.DIVERGED

    @property
    def other_code(self) -> tuple[LoadedRow, ...]:
        """What MLflow loads a recorded model with, where it is not what was made again."""
        return tuple(row for row in self.loaded if row[1] != row[2])

    @property
    def explanations(self) -> tuple[str, ...]:
        """Why it is not identical, the likeliest first; empty when it is."""
        if self.grade is Grade.IDENTICAL:
            return ()
        lines = [f"data: {problem.of_record()}" for problem in self.damage]
        lines += [_loads_otherwise(*row) for row in self.other_code]
        return (*lines, *sentences(self.differences)) or (NO_CAUSE,)

    def to_dict(self) -> StepReport:
        """Plain values, for JSON."""
        return {
            "step": self.step,
            "grade": str(self.grade),
            "original": self.original,
            "repeated": self.repeated,
            "outputs": [_row(*row) for row in self.outputs],
            "loaded": [_row(str(file), before, after) for file, before, after in self.loaded],
            "metrics": [_row(name, _plain(before), _plain(after)) for name, before, after in self.metrics],
            "causes": list(self.explanations),
            "differences": [cause.to_dict() for cause in self.differences],
            "damage": [problem.to_dict() for problem in self.damage],
            "error": self.error,
        }


@dataclass(frozen=True)
class Verdict:
    """All steps in the order they ran: as good as the worst of them."""

    steps: tuple[StepVerdict, ...]

    @property
    def grade(self) -> Grade:
        return min(step.grade for step in self.steps)

    @property
    def first(self) -> StepVerdict | None:
        """The first step that is not identical: those after it had other inputs."""
        return next((step for step in self.steps if step.grade is not Grade.IDENTICAL), None)

    def line(self) -> str:
        """The grade and, below identical, where it went wrong and why, as one line."""
        if self.first is None:
            return f"grade {self.grade}"
        return f"grade {self.grade}  first at {self.first.step}: {one_line(self.first.explanations[0])}"


def judge(original: Made, repeated: Made, pipeline: Pipeline, tolerance: float = 0.0,
          damage: tuple[Problem, ...] = (), same_code: bool = False) -> StepVerdict:  # fmt: skip
    """Compare every output by digest and every metric by its bits.

    With `same_code`, where the one is a repetition of the other by its code, also how their models load.
    """
    before: dict[str, str | None] = {output.name: output.digest for output in original.lineage.outputs}
    after: dict[str, str | None] = {output.name: output.digest for output in repeated.lineage.outputs}
    loaded, required = how_loaded(original, repeated) if same_code else ({}, {})
    before |= {str(file): recorded for file, (recorded, _) in required.items()}
    after |= {str(file): made for file, (_, made) in required.items()}
    old, new = measured(original.metrics), measured(repeated.metrics)
    return StepVerdict(
        step=original.lineage.step,
        original=original.run_id,
        repeated=repeated.run_id,
        outputs=tuple((name, before.get(name), after.get(name)) for name in sorted(before | after)),
        metrics=tuple((name, old.get(name), new.get(name)) for name in sorted(old | new)),
        differences=find_differences(original.lineage, repeated.lineage, pipeline),
        damage=damage,
        tolerance=tolerance,
        loaded=tuple((file, *pair) for file, pair in sorted(loaded.items())),
    )


def how_loaded(original: Made, repeated: Made) -> tuple[LoadedPairs, LoadedPairs]:
    """File -> (recorded, repeated) of what runs when a model is loaded, and of what is installed before.

    Only of outputs whose files both records list, and of settings that both had at hand.
    """
    listed = [{output.name: output for output in made.lineage.outputs if output.files} for made in (original, repeated)]
    both = [name for name in listed[0] if name in listed[1]]
    code = [model_loading.files(outputs[name] for name in both) for outputs in listed]
    loaded = {file: (code[0].get(file), code[1].get(file)) for file in code[0] | code[1]}
    old, new = original.settings, repeated.settings
    at_hand = [name for name in both if ModelFile(name, model_loading.MODEL) in old.keys() & new.keys()]
    known = {file: (old.get(file), new.get(file)) for file in {*old, *new} if file.output in at_hand}
    required = {file: pair for file, pair in known.items() if file.path in model_loading.REQUIREMENTS}
    return loaded | {file: pair for file, pair in known.items() if file not in required}, required


def failed(original: Made, error: str, damage: tuple[Problem, ...] = (), differences: tuple[Difference, ...] = (),
           repeated: str | None = None) -> StepVerdict:  # fmt: skip
    """The verdict on a step that could not be repeated; `differences` are those of what the repetition started with."""
    return StepVerdict(original.lineage.step, original.run_id, repeated, (), (), differences, damage, one_line(error))


def measured(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the result: what was measured of the machine, or against the champion of the day, is none.

    Nor are curves, the way to the result: runs of earlier code have none.
    """
    return {name: value for name, value in metrics.items() if not name.startswith(names.NOT_JUDGED)}


def relative(before: float | None, after: float | None) -> float:
    """How far apart two metrics are, relative to the larger; 0.0 for the same bits, infinite when one is missing."""
    if before is None or after is None:
        return math.inf
    if struct.pack("<d", before) == struct.pack("<d", after) or (math.isnan(before) and math.isnan(after)):
        return 0.0
    if not (math.isfinite(before) and math.isfinite(after)):
        return math.inf
    apart = abs(before - after) / max(abs(before), abs(after), math.ulp(0.0))
    return apart or math.ulp(0.0)  # 0.0 and -0.0 are not the same bits


def _row(name: str, recorded: float | str | None, repeated: float | str | None) -> Row:
    return {"name": name, "recorded": recorded, "repeated": repeated}


def _loads_otherwise(file: ModelFile, recorded: str | None, made: str | None) -> str:
    """One of the causes, as a line."""
    digests = f"sha256 {short(recorded)}, made again {short(made)}"
    return one_line(f"model: {file} is not what the recorded code makes: {digests}")


def short(digest: str | None) -> str:
    """A digest as a person is shown it."""
    return digest[:12] if digest else "absent"


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
