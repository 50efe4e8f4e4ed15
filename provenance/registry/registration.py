"""Register a model as a version, which becomes champion when its score is better than the champion's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from mlflow.entities.model_registry import ModelVersion

from provenance.pipeline.declaration import Metric
from provenance.pipeline.session import Session
from provenance.pipeline.step_run import StepRun
from provenance.record import names
from provenance.record.lineage import Output
from provenance.registry import aliases, promotions
from search.trial import loss_of


def register_model(
    step: StepRun, model: Output, metric: Metric, metrics: Mapping[str, float], description: str
) -> None:
    """Make `model` a version of the registered model `model_name`, the step's output, with the alias `candidate`.

    It becomes champion where there is none, or where its `metric` is better than the champion's.
    """
    given, value = step.lineage.params["model_name"], metrics[metric.name]
    name = next(iter(step.session.pipeline.registered_models)) if given == aliases.AUTO else given
    facts = {
        names.KEY: step.lineage.key,
        names.REGISTERED_BY: step.run_id,
        metric.name: repr(value),
        names.DECISION: promotions.UNDECIDED,
        names.REASON: f"run {step.run_id} is not through with it",
    }
    version, entered = promotions.enter(step.session, name, model, facts, description)
    with contextlib.nullcontext() if promotions.throwaway() else promotions.turn(step.session, name):
        champion, why = decided(step.session, version, metric, value)
        decision = {names.DECISION: "champion" if champion else "candidate", names.REASON: why}
        promotions.tag_version(step.client, name, str(version.version), decision)
        if champion:
            promotions.promote(step.session, name, str(version.version), why)
    step.client.set_registered_model_alias(name, names.CANDIDATE, version.version)
    step.say(f"{'promoted' if champion else 'not promoted'}: {why}")
    step.keep(replace(entered, name=names.VERSION, uri=f"models:/{name}/{version.version}"))


def decided(session: Session, version: ModelVersion, metric: Metric, value: float) -> tuple[bool, str]:
    """Whether the version becomes champion, and why."""
    champion = aliases.holder(session.client, version.name, names.CHAMPION)
    if promotions.throwaway():
        return False, "a repetition, registered in a registry that is thrown away with it"
    if champion is None:
        return True, "there was no champion yet"
    if str(champion.version) == str(version.version):
        return True, promotions.why_champion(session.client, version.name, str(version.version))
    try:
        theirs = float(champion.tags[metric.name])
    except (KeyError, ValueError):
        return False, f"champion version {champion.version} does not say its {metric.name}"
    better = loss_of(metric, value) < loss_of(metric, theirs)
    compared = f"{metric.name} {value:.4f}, of champion version {champion.version} {theirs:.4f}"
    return better, f"{'better' if better else 'not better'}: {compared}"
