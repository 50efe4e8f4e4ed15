"""Judge a repetition: give it a grade, and name the first step that differs and its most likely causes.

The functions here are pure: they read no store and start no process.
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
    """How well a repetition agrees with the recorded run, the worst grade first."""

    DIVERGED = 0  # a metric is outside the tolerance, or something could not be compared
    CLOSE = 1  # every metric within the tolerance
    METRICS = 2  # each metric is equal, bit for bit, but the bytes of an output differ
    IDENTICAL = 3  # each output and metric is equal, bit for bit

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, form: str) -> str:  # the format of int would show a number
        return format(str(self), form)


# (name, recorded value, repeated value); None if a run lacks the value.
DigestRow = tuple[str, str | None, str | None]
LoadedRow = tuple[ModelFile, str | None, str | None]
MetricRow = tuple[str, float | None, float | None]
LoadedPairs = dict[ModelFile, tuple[str | None, str | None]]
GRADES = tuple(str(grade) for grade in reversed(Grade))


@dataclass(frozen=True)
class Made:
    """The result of one run: its record and its metrics.

    settings: how MLflow loads its models, as `model_loading.settings` returns it.
    """

    run_id: str
    lineage: Lineage
    metrics: Mapping[str, float]
    settings: Mapping[ModelFile, str] = field(default_factory=dict)


class Row(TypedDict):
    """One output, file or metric in JSON. A metric that is NaN or infinite is text."""

    name: str
    recorded: float | str | None
    repeated: float | str | None


class StepReport(TypedDict):
    """A step's verdict in JSON. `causes` are sentences; `differences` and `damage` are the same facts as data."""

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
    """The comparison of one recorded step with its repetition.

    outputs: (name, recorded digest or None, repeated digest or None).
    metrics: (name, recorded value or None, repeated value or None).
    damage: how artifacts of the recorded run, or its inputs, differ from its record.
    error: why there is no repetition.
    loaded: files that MLflow uses to load a model and that the model's digest does not cover.
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
        """How close the repetition came: see `Grade`."""
        if self.error or self.damage or self.other_code:
            return Grade.DIVERGED
        apart = [relative(before, after) for _, before, after in self.metrics]
        if not any(apart) and all(before == after for _, before, after in self.outputs):
            return Grade.IDENTICAL
        if not apart:  # an output differs, and there is no metric to compare
            return Grade.DIVERGED
        return Grade.METRICS if not any(apart) else Grade.CLOSE if max(apart) <= self.tolerance else Grade.DIVERGED

    @property
    def other_code(self) -> tuple[LoadedRow, ...]:
        """The rows of `loaded` that differ."""
        return tuple(row for row in self.loaded if row[1] != row[2])

    @property
    def explanations(self) -> tuple[str, ...]:
        """Why the step is not identical, the most likely cause first; empty if it is identical."""
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
    """The verdicts on all steps, in the order in which they ran. The grade is that of the worst step."""

    steps: tuple[StepVerdict, ...]

    @property
    def grade(self) -> Grade:
        """The lowest grade of the steps."""
        return min(step.grade for step in self.steps)

    @property
    def first(self) -> StepVerdict | None:
        """The first step that is not identical, or None. The steps after it had other inputs."""
        return next((step for step in self.steps if step.grade is not Grade.IDENTICAL), None)

    def line(self) -> str:
        """One line: the grade and, if it is not identical, the first step that differs and its most likely cause."""
        if self.first is None:
            return f"grade {self.grade}"
        return f"grade {self.grade}  first at {self.first.step}: {one_line(self.first.explanations[0])}"


def judge(original: Made, repeated: Made, pipeline: Pipeline, tolerance: float = 0.0,
          damage: tuple[Problem, ...] = (), same_code: bool = False) -> StepVerdict:  # fmt: skip
    """Compare two runs of one step: each output by its digest and each metric by its bits.

    Parameters
    ----------
    original : Made
        The recorded run.
    repeated : Made
        Its repetition, or another run of the step.
    pipeline : Pipeline
        The project's declaration.
    tolerance : float, optional
        Relative distance of metrics that still counts as close.
    damage : tuple of Problem, optional
        How artifacts of the recorded run differ from its record. Damage makes the grade DIVERGED.
    same_code : bool, optional
        Whether `repeated` ran the code of `original`. Then the files with which MLflow loads a model are also compared.

    Returns
    -------
    StepVerdict
        The compared values and the differences between the records.
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
    """Two tables of file -> (recorded, repeated) digest: the files that load a model, and the lists of its packages.

    They contain only outputs whose files both records list, and settings that could be read for both.
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
    """The verdict on a step that could not be repeated.

    differences: those between the record and the record with which the repetition started.
    """
    return StepVerdict(original.lineage.step, original.run_id, repeated, (), (), differences, damage, one_line(error))


def measured(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are part of the result. Those in `names.NOT_JUDGED` are left out."""
    return {name: value for name, value in metrics.items() if not name.startswith(names.NOT_JUDGED)}


def relative(before: float | None, after: float | None) -> float:
    """The distance of two metrics relative to the larger; 0.0 for the same bits, infinite if one is missing."""
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
    """A line that names a file with which MLflow would load the recorded model in another way."""
    digests = f"sha256 {short(recorded)}, made again {short(made)}"
    return one_line(f"model: {file} is not what the recorded code makes: {digests}")


def short(digest: str | None) -> str:
    """The first characters of a digest, for a message."""
    return digest[:12] if digest else "absent"


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
