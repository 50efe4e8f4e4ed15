"""Decide on a registered version: compare it with the champion on the same rows, promote it or not, and say why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pyarrow as pa
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError
from provenance.record.lineage import LineageError
from provenance.registry import aliases, promotions
from steps import names as trip_names
from steps.models.judged_on import NOTHING_KNOWN, REAL, JudgedOn, judged_on_by, not_comparable, other_taxi
from steps.models.registered import ModelUriError, registered
from taxi.evaluation.bootstrap import paired_gain
from taxi.evaluation.evaluate import Evaluation
from taxi.evaluation.promotion_rule import Decision, Figures, Thresholds, decide, first
from taxi.features.fitting import FeatureError
from taxi.models.families import ModelError
from taxi.models.intervals import IntervalError
from taxi.models.predictor import PredictorError

THRESHOLDS = Thresholds()
THROWAWAY = "a repetition, registered in a registry that is thrown away with it, so it was not compared with a champion"
# A champion that is gone, altered, or of another version of this project, whose code does not run here.
UNREADABLE = (ArtifactError, ModelUriError, RunError, LineageError, PredictorError, FeatureError, ModelError,
              IntervalError, MlflowException)  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A version and how it did on the test months of `taxi`; `batches()` gives their valid trips again.

    on: what is known of these trips.
    """

    version: ModelVersion
    judged: Evaluation
    figures: Figures
    taxi: str
    test_months: list[str]
    batches: Callable[[], Iterable[pa.RecordBatch]]
    on: JudgedOn = NOTHING_KNOWN


def decide_on(
    session: Session,
    one: Contender,
    thresholds: Thresholds = THRESHOLDS,
    publish: Callable[[Decision], None] = lambda decision: None,
) -> tuple[Decision, dict[str, float]]:
    """Make the contender champion if the promotion rule allows it. Returns the decision and its metrics.

    Another run at the same time waits, and is then compared with the new champion. The decision and its reason are
    tags of the version, too; they and what `publish` writes are there before the alias moves, so that no champion is
    without them, whenever its run is killed.
    """
    client, name, number = session.client, one.version.name, str(one.version.version)
    measured = {trip_names.LATENCY_MS: one.figures.latency_ms}
    with contextlib.nullcontext() if promotions.throwaway() else promotions.turn(session, name):
        champion = aliases.holder(client, name, names.CHAMPION)
        if promotions.throwaway():
            decision = Decision(False, THROWAWAY)
        elif champion is None:
            decision = first(thresholds.failures(one.figures))
        elif str(champion.version) == number and champion.tags.get(names.DECISION) == promotions.UNDECIDED:
            decision = Decision(True, promotions.why_champion(client, name, number))  # by a run that was killed then
        else:
            decision, more = against(session, one, champion, thresholds)
            measured |= more
        promotions.tag_version(client, name, number, {names.DECISION: decision.word, names.REASON: decision.reason})
        publish(decision)
        if decision.promote:
            promotions.promote(session, name, number, decision.reason)
    return decision, measured


def against(
    session: Session, one: Contender, champion: ModelVersion, thresholds: Thresholds
) -> tuple[Decision, dict[str, float]]:
    """The decision where there is a champion, and metrics of the comparison, in minutes."""
    who, failed = f"champion version {champion.version}", thresholds.failures(one.figures)
    theirs = judged_on_by(session, champion)
    if different := not_comparable(one.on, theirs, who):
        if theirs.made_up and one.on.city == REAL:  # for real trips there was no champion yet
            return first(failed, f"{who} was of the made-up city, and this is the first of real trips"), {}
        return Decision(False, different, failed), {}
    if earlier := promotions.promoted_before(session.client, one.version):
        again = f"the same chain, unchanged, became champion before, as version {earlier}, and lost it since"
        return Decision(False, f"{again}: set the alias by hand to have it back", failed), {}
    try:
        predictor = registered(session, f"models:/{champion.name}/{champion.version}").predictor
    except UNREADABLE as error:
        session.say(f"{who} cannot be loaded: {error}\n What takes its place can be undone: -e rollback.")
        return decide(failed, who, None), {}
    if predictor.taxi != one.taxi:
        return Decision(False, other_taxi(who, predictor.taxi, one.taxi), failed), {}
    before = Evaluation.of(predictor, one.judged.rows, one.batches())
    gain = paired_gain(one.judged.rows.day, before.squared, one.judged.squared, thresholds.confidence)
    decision = decide(failed, who, gain)
    seen = sorted(set(champion.tags.get(trip_names.LEARNED_MONTHS, "").split(",")) & set(one.test_months))
    if seen:
        favour = f"{decision.reason}; the champion has learned from {', '.join(seen)}, which is in its favour"
        decision = replace(decision, reason=favour)
    rmse = float(before.squared.mean() ** 0.5)
    return decision, {trip_names.CHAMPION_RMSE: rmse, trip_names.GAIN: gain.gain, trip_names.GAIN_LOW: gain.low}
