"""Judge a repetition: two records and their metrics to a grade, the first step that differs, and its likeliest causes.

Pure: reads no store, starts nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from provenance.record import names
from provenance.record.lineage import Lineage
from provenance.record.validation import one_line
from provenance.reproduce import model_loading
from provenance.reproduce.differences import Difference, find_differences

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


GRADES = tuple(str(grade) for grade in reversed(Grade))


@dataclass(frozen=True)
class Made:
    """What one run left: its record and its metrics; of its models, as `loading.settings` gives it, how they load."""

    run_id: str
    lineage: Lineage
    metrics: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=dict)


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
    outputs: tuple[tuple[str, str | None, str | None], ...]
    metrics: tuple[tuple[str, float | None, float | None], ...]
    differences: tuple[Difference, ...]
    damage: tuple[str, ...] = ()
    error: str | None = None
    tolerance: float = 0.0
    loaded: tuple[tuple[str, str | None, str | None], ...] = ()

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
    def other_code(self) -> tuple[str, ...]:
        """How a recorded model loads otherwise than the one that was made again, a line for each file."""
        return tuple(
            one_line(f"{name} is not what the recorded code makes: sha256 {_short(before)}, made again {_short(after)}")
            for name, before, after in self.loaded
            if before != after
        )

    @property
    def explanations(self) -> tuple[str, ...]:
        """Why it is not identical, the likeliest first; empty when it is."""
        if self.grade is Grade.IDENTICAL:
            return ()
        lines = [*(f"data: {line}" for line in self.damage), *(f"model: {line}" for line in self.other_code)]
        return (*lines, *map(str, self.differences)) or (NO_CAUSE,)

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return {
            "step": self.step,
            "grade": str(self.grade),
            "original": self.original,
            "repeated": self.repeated,
            "outputs": [dict(zip(("name", "recorded", "repeated"), row, strict=True)) for row in self.outputs],
            "loaded": [dict(zip(("name", "recorded", "repeated"), row, strict=True)) for row in self.loaded],
            "metrics": [
                {"name": name, "recorded": _plain(before), "repeated": _plain(after)}
                for name, before, after in self.metrics
            ],
            "causes": list(self.explanations),
            "differences": [{"kind": cause.kind, "text": cause.text} for cause in self.differences],
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


def judge(original: Made, repeated: Made, tolerance: float = 0.0, damage: tuple[str, ...] = (),
          same_code: bool = False) -> StepVerdict:  # fmt: skip
    """Compare every output by digest and every metric by its bits.

    With `same_code`, where the one is a repetition of the other by its code, also how their models load.
    """
    before = {output.name: output.digest for output in original.lineage.outputs}
    after = {output.name: output.digest for output in repeated.lineage.outputs}
    loaded, required = how_loaded(original, repeated) if same_code else ({}, {})
    before |= {name: old for name, (old, _) in required.items()}
    after |= {name: new for name, (_, new) in required.items()}
    old, new = measured(original.metrics), measured(repeated.metrics)
    return StepVerdict(
        step=original.lineage.step,
        original=original.run_id,
        repeated=repeated.run_id,
        outputs=tuple((name, before.get(name), after.get(name)) for name in sorted(before | after)),
        metrics=tuple((name, old.get(name), new.get(name)) for name in sorted(old | new)),
        differences=find_differences(original.lineage, repeated.lineage),
        damage=damage,
        tolerance=tolerance,
        loaded=tuple((name, *pair) for name, pair in sorted(loaded.items())),
    )


def how_loaded(original: Made, repeated: Made) -> tuple[dict, dict]:
    """Name -> (recorded, repeated) of what runs when a model is loaded, and of what is installed before.

    Only of outputs whose files both records list, and of settings that both had at hand.
    """
    listed = [{output.name: output for output in made.lineage.outputs if output.files} for made in (original, repeated)]
    both = [name for name in listed[0] if name in listed[1]]
    code = [model_loading.files(outputs[name] for name in both) for outputs in listed]
    loaded = {name: (code[0].get(name), code[1].get(name)) for name in code[0] | code[1]}
    old, new = original.settings, repeated.settings
    at_hand = tuple(f"{name} " for name in both if f"{name} {model_loading.MODEL}" in old.keys() & new.keys())
    known = {name: (old.get(name), new.get(name)) for name in old | new if name.startswith(at_hand)}
    required = {name: pair for name, pair in known.items() if name.endswith(model_loading.REQUIREMENTS)}
    return loaded | {name: pair for name, pair in known.items() if name not in required}, required


def failed(original: Made, error: str, damage: tuple[str, ...] = (), tried: Lineage | None = None,
           repeated: str | None = None) -> StepVerdict:  # fmt: skip
    """The verdict on a step that could not be repeated; `tried` is the record that the failed repetition left."""
    found = find_differences(original.lineage, tried) if tried else ()
    return StepVerdict(original.lineage.step, original.run_id, repeated, (), (), found, damage, one_line(error))


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


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "absent"


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
