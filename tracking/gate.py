"""A registered version at the gate: judged against the champion on the same rows, promoted or not, and why recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pyarrow as pa
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from taxi.bootstrap import paired_gain
from taxi.features import FeatureError
from taxi.gate import Decision, Figures, Thresholds, decide
from taxi.intervals import IntervalError
from taxi.judging import Judged
from taxi.models import ModelError
from taxi.predictor import PredictorError
from tracking import aliases, names, registry
from tracking.artifacts import ArtifactError
from tracking.lineage import LineageError
from tracking.registered import ModelUriError, registered
from tracking.session import RunError, Session

THRESHOLDS = Thresholds()
# A champion that is gone, altered, or of another version of this project, whose code does not run here.
UNREADABLE = (ArtifactError, ModelUriError, RunError, LineageError, PredictorError, FeatureError, ModelError,
              IntervalError, MlflowException)  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A version and how it did on the test months of `taxi`; `batches()` gives their valid trips again."""

    version: ModelVersion
    judged: Judged
    figures: Figures
    taxi: str
    test_months: list[str]
    batches: Callable[[], Iterable[pa.RecordBatch]]


def decide_on(session: Session, one: Contender, thresholds: Thresholds = THRESHOLDS) -> tuple[Decision, dict]:
    """Make the contender champion if the gate opens for it. The decision, and metrics of it.

    Who comes at the same time waits, and then meets the champion that this one left. The decision and its reason are
    tags of the version, too.
    """
    client, name, number = session.client, one.version.name, str(one.version.version)
    measured = {names.LATENCY_MS: one.figures.latency_ms}
    with registry.turn(session, name):
        champion = aliases.holder(client, name, names.CHAMPION)
        if champion is None:
            decision = decide(thresholds.failures(one.figures), None, None)
        else:
            decision, more = against(session, one, champion, thresholds)
            measured |= more
        if decision.promote:
            registry.promote(session, name, number, decision.reason)
        registry.tag_version(client, name, number, {names.DECISION: decision.word, names.REASON: decision.reason})
    return decision, measured


def against(session: Session, one: Contender, champion: ModelVersion, thresholds: Thresholds) -> tuple[Decision, dict]:
    """The decision where there is a champion, and metrics of the comparison, in minutes."""
    who, failed = f"champion version {champion.version}", thresholds.failures(one.figures)
    try:
        predictor = registered(session, f"models:/{champion.name}/{champion.version}").predictor
    except UNREADABLE as error:
        session.say(f"{who} cannot be loaded: {error}\n What takes its place can be undone: -e rollback.")
        return decide(failed, who, None), {}
    if predictor.taxi != one.taxi:
        other = f"{who} is for {predictor.taxi} taxis; register {one.taxi} ones under another model_name"
        return Decision(False, other, failed), {}
    before = Judged.of(predictor, one.judged.rows, one.batches())
    gain = paired_gain(one.judged.rows.day, before.squared, one.judged.squared, thresholds.confidence)
    decision = decide(failed, who, gain)
    seen = sorted(set(champion.tags.get(names.LEARNED_MONTHS, "").split(",")) & set(one.test_months))
    if seen:
        favour = f"{decision.reason}; the champion has learned from {', '.join(seen)}, which is in its favour"
        decision = replace(decision, reason=favour)
    rmse = float(before.squared.mean() ** 0.5)
    return decision, {names.CHAMPION_RMSE: rmse, names.GAIN: gain.gain, names.GAIN_LOW: gain.low}
