"""Register a model: choose a candidate of a search, register it, and compare it with the champion."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import pyarrow as pa
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion

from provenance.pipeline.step_run import StepRun
from provenance.record import names
from provenance.record.lineage import Output
from provenance.record.writer import set_tags
from provenance.reuse.consistency import PREDICTOR
from steps import names as trip_names
from steps.models.candidates import Candidate, Candidates
from steps.models.judged_on import JudgedOn, judged_on
from taxi.dataset.dataset import Dataset
from taxi.evaluation.evaluate import Evaluation, latency_ms
from taxi.evaluation.slices import Rows
from taxi.models.predictor import Predictor


class RegisterError(ValueError):
    """No model of an hpo run can be registered."""


@dataclass(frozen=True)
class Registration:
    """A candidate that was chosen, and the model that is registered for it.

    judged: the candidate on the test months. registered: the model that is registered on the same months; of one that
    was fitted again, on what it has not seen either. learned: splits that it was fitted on.
    """

    search: Candidates
    dataset: Dataset
    chosen: Candidate
    predictor: Predictor
    judged: Evaluation
    registered: Evaluation
    on: JudgedOn
    learned: tuple[str, ...]

    @cached_property
    def example(self) -> pd.DataFrame:
        """Raw trips to try the model on."""
        from steps.models.logged_model import example

        return example(self.predictor)

    @property
    def learned_months(self) -> list[str]:
        """The months that the registered model was fitted to."""
        return [month for split in self.learned for month in self.dataset.manifest.months(split)]


def prepare(step: StepRun) -> Registration:
    """Choose the candidate, judge it on the test months, fit it again where that is asked for. Raises RegisterError."""
    from runtime.progress import counted, following
    from steps.pages.split_inputs import log_splits
    from taxi.models.refit import refitted

    search = Candidates.read(step.session, step.input("search").uri)
    dataset = Dataset.open(step.folder(search.dataset))
    manifest = dataset.manifest
    if "test" not in manifest.splits:
        raise RegisterError("the dataset has no test months, so nothing can be judged\n Give test_months.")
    on = judged_on(step.session, search.dataset, manifest)
    again = step.params["refit"] != "train"
    learned = ("train", "val") if again else ("train",)
    log_splits(step.client, step.run_id, dataset.folder, manifest, search.dataset.uri, (*learned, "test"))

    def test() -> Iterable[pa.RecordBatch]:
        return counted(dataset.batches("test"), "judge", manifest.rows("test"), "trips", len)

    rows = Rows.read(test())
    chosen = search.choose(int(str(step.params["top_n"])), str(step.params["select"]), dataset, rows)
    predictor = chosen.predictor_with_intervals(dataset)
    judged = registered = Evaluation.of(predictor, rows, test())
    if again:
        step.say(f"fitting trial {chosen.trial} again, on the train and val months")
        threading.Thread(target=_needed_afterwards, daemon=True, name="imports").start()  # while XGBoost works
        with following("fit again", "rounds at most", step.session.progress) as progress:
            predictor = refitted(predictor, dataset, search.seed, progress)
        registered = Evaluation.of(predictor, rows, test())
    return Registration(search, dataset, chosen, predictor, judged, registered, on, learned)


def _needed_afterwards() -> None:
    """A second of imports."""
    from steps.models import logged_model  # noqa: F401
    from steps.pages import model_page  # noqa: F401


def log(step: StepRun, made: Registration) -> tuple[dict[str, str], Output]:
    """Log the model and all scores; what its version says of it, and the record of its files."""
    from provenance.record.run_page import run_link
    from steps.models import logged_model
    from steps.pages import results
    from steps.pages.split_inputs import measured_on

    search, chosen, manifest = made.search, made.chosen, made.dataset.manifest
    test_scores, scores = made.judged.metrics("test"), made.registered.metrics("registered_test")
    tags = {
        names.FAMILY: search.family,
        trip_names.FEATURES: search.features,
        trip_names.TRIAL: str(chosen.trial),
        trip_names.REFIT: str(step.params["refit"]),
    }
    fitted_with = made.predictor.estimator.params.as_dict()
    spans = " and ".join(manifest.month_span(split) for split in made.learned)
    name = logged_model.model_name(made.predictor, made.learned_months)
    about = results.fitted(search.family, manifest.taxi, spans, scores, run_link(step.run_id))
    _, output = logged_model.log(made.predictor, step.run_id, name, fitted_with, scores, tags, manifest, about)
    of_trial = measured_on(test_scores, manifest, chosen.model.uri.removeprefix("models:/"))
    of_run = [Metric(metric, value, 0, 0) for metric, value in chosen.metrics.items()]
    step.client.log_batch(step.run_id, metrics=[*of_run, *of_trial])
    facts = {
        **tags,
        names.KEY: step.lineage.key,
        names.REGISTERED_BY: step.run_id,
        names.SEARCH_RUN: search.run_id,
        **{metric: f"{value:.6f}" for metric, value in {**chosen.metrics, **test_scores, **scores}.items()},
        trip_names.LEARNED_MONTHS: ",".join(made.learned_months),
        **made.on.tags(),
    }
    return facts, output


def enter(step: StepRun, made: Registration, output: Output, facts: dict[str, str]) -> tuple[ModelVersion, Output]:
    """Make the model a version, or complete the one that a run of the same key left; the version and its record."""
    from provenance.registry import promotions
    from steps.models.judged_on import description
    from steps.pages.split_inputs import measured_on

    waiting = {names.DECISION: promotions.UNDECIDED, names.REASON: f"run {step.run_id} is not through with it"}
    # The record's name, not the option's: auto was resolved by then.
    version, entered = promotions.enter(
        step.session, step.lineage.params["model_name"], output, facts | waiting, description(made.on.made_up)
    )
    if entered is not output:  # logged by a run that was killed, perhaps before its scores
        scores, model_id = made.registered.metrics("registered_test"), str(version.source).removeprefix("models:/")
        step.client.log_batch(step.run_id, metrics=measured_on(scores, made.dataset.manifest, model_id))
    return version, entered


def decide(step: StepRun, made: Registration, version: ModelVersion, output: Output) -> None:
    """Compare the version with the champion. Write the decision to the run and, as model card, to the version.

    The alias `candidate` is set last: a version that holds it has a card and a decision.
    """
    from steps.models import promotion
    from steps.pages.card import Subject, became, card
    from taxi.evaluation.promotion_rule import Decision

    manifest, dataset = made.dataset.manifest, made.dataset
    size = sum(size for path, (size, _) in output.files.items() if path.startswith(PREDICTOR))
    figures = made.registered.figures(latency_ms(made.predictor, made.example.iloc[:1]), size)
    contender = promotion.Contender(
        version=version,
        judged=made.registered,
        figures=figures,
        taxi=manifest.taxi,
        test_months=manifest.months("test"),
        batches=lambda: dataset.batches("test"),
        on=made.on,
    )

    def publish(decision: Decision) -> None:
        subject = Subject(
            made.search.family, dataset.features.feature_set, manifest, made.chosen.trial, str(step.params["select"]),
            str(step.params["refit"]), made.chosen.metrics, made.judged, made.registered, decision,
            made.search.run_id, step.run_id, step.session.open_run.info.experiment_id, made.on.made_up,
        )  # fmt: skip
        step.client.update_model_version(version.name, version.version, card(subject))

    decision, measured = promotion.decide_on(step.session, contender, publish=publish)
    step.client.set_registered_model_alias(version.name, names.CANDIDATE, version.version)
    measured |= {
        "registered_worst_zones_rmse": figures.zones_rmse,
        "registered_worst_hour_rmse": figures.hour_rmse,
        "registered_model_mb": figures.model_mb,
    }
    step.client.log_batch(step.run_id, metrics=[Metric(name, value, 0, 0) for name, value in measured.items()])
    step.say(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}")
    set_tags(step.client, step.run_id, {names.DECISION: f"{decision.word}: {decision.reason}"})
    step.note = became(decision)
