"""register: an hpo run -> the chosen candidate, judged on test, fitted again, as a version that meets the gate."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import threading
from dataclasses import replace

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.step_run import StepRun, run_step
from steps.options import DATA, RUN, TRIALS, StepCommand, options


class RegisterError(ValueError):
    """An hpo run from which nothing can be registered."""


@click.command(cls=StepCommand)
@options("search", "select", "refit", "model_name", "model", *TRIALS, *DATA, *RUN)
@checked
def register(**params) -> None:
    """Choose among the best trials of an hpo run, judge on test, fit again, register; champion if the gate opens."""
    from steps.pages import results
    from steps.pipeline import PIPELINE, REGISTER

    run_step(PIPELINE, REGISTER, params, work, report, about=results.register)


def work(step: StepRun) -> None:
    from provenance.record import names
    from runtime.progress import counted, following
    from steps import names as trip_names
    from steps.models.candidates import Candidates
    from steps.models.judged_on import judged_on
    from steps.models.logged_model import example
    from steps.models.serving import Served
    from steps.pages.model_page import log_model_plots
    from steps.pages.split_inputs import log_splits
    from taxi.dataset.dataset import Dataset
    from taxi.evaluation.evaluate import Evaluation
    from taxi.evaluation.slices import Rows
    from taxi.models.refit import refitted

    search = Candidates.read(step.session, step.input("search").uri)
    dataset = Dataset.open(step.folder(search.dataset))
    if "test" not in dataset.manifest.splits:
        raise RegisterError("the dataset has no test months, so nothing can be judged\n Give test_months.")
    served = step.folders.enter_context(Served())  # it imports what it needs while this process works
    on = judged_on(step.session, search.dataset, dataset.manifest)
    again = step.params["refit"] != "train"
    learned = ("train", "val") if again else ("train",)
    read = (*learned, "test")
    log_splits(step.client, step.run_id, dataset.folder, dataset.manifest, search.dataset.uri, read)
    trips = dataset.manifest.rows("test")

    def test():
        return counted(dataset.batches("test"), "judge", trips, "trips", len)

    rows = Rows.read(test())
    chosen = search.choose(int(step.params["top_n"]), str(step.params["select"]), dataset, rows)
    predictor = chosen.predictor_with_intervals(dataset)
    judged = registered = Evaluation.of(predictor, rows, test())
    if again:
        step.say(f"fitting trial {chosen.trial} again, on the train and val months")
        threading.Thread(target=needed_after_it, daemon=True, name="imports").start()  # while XGBoost works
        with following("fit again", "rounds at most", step.session.progress) as progress:
            predictor = refitted(predictor, dataset, search.seed, progress)
        registered = Evaluation.of(predictor, rows, test())
    facts, output = log(step, search, dataset.manifest, chosen, predictor, judged, registered)
    served.ask(step.folder(output), example(predictor.taxi))
    log_model_plots(step.client, step.run_id, predictor, registered, dataset, on.made_up)
    served.check(predictor.answer(example(predictor.taxi)))
    if step.lineage.environment.get("differences"):
        step.say("the model answered in a process of its own; its packages were not quite those of the lock")
    months = [month for split in learned for month in dataset.manifest.months(split)]
    facts |= {trip_names.LEARNED_MONTHS: ",".join(months), **on.tags()}
    version, output = enter(
        step, output, facts, manifest=dataset.manifest, scores=registered.metrics("registered_test"), made_up=on.made_up
    )
    gate(step, search, chosen, dataset, predictor, judged, registered, version, output, on)
    step.keep(replace(output, name=names.VERSION, uri=f"models:/{version.name}/{version.version}"))


def needed_after_it() -> None:
    """A second of imports."""
    from steps.models import logged_model  # noqa: F401
    from steps.pages import model_page  # noqa: F401


def log(step: StepRun, search, manifest, chosen, predictor, judged, registered) -> tuple[dict, object]:
    """Log the model and all scores; what its version says of it, and the record of its files."""
    from mlflow.entities import Metric

    from provenance.record import names
    from provenance.record.run_page import run_link
    from steps import names as trip_names
    from steps.models import logged_model
    from steps.pages import results
    from steps.pages.split_inputs import measured_on

    test_scores, scores = judged.metrics("test"), registered.metrics("registered_test")
    tags = {names.FAMILY: search.family, trip_names.FEATURES: search.features, "trial": str(chosen.trial),
            "refit": str(step.params["refit"])}  # fmt: skip
    fitted_with = predictor.estimator.params.as_dict()
    splits = ("train", "val") if step.params["refit"] != "train" else ("train",)
    learned = [month for split in splits for month in manifest.months(split)]
    spans = " and ".join(manifest.month_span(split) for split in splits)
    name = logged_model.model_name(predictor, learned)
    about = results.fitted(search.family, manifest.taxi, spans, scores, run_link(step.run_id))
    _, output = logged_model.log(predictor, step.run_id, name, fitted_with, scores, tags, manifest, about)
    of_trial = measured_on(test_scores, manifest, chosen.model.uri.removeprefix("models:/"))
    every = {**chosen.metrics, **test_scores, **scores}
    of_run = [Metric(metric, value, 0, 0) for metric, value in chosen.metrics.items()]
    step.client.log_batch(step.run_id, metrics=[*of_run, *of_trial])
    facts = {
        **tags,
        names.KEY: step.lineage.key,
        "run_id": step.run_id,
        "search_run_id": search.run_id,
        **{metric: f"{value:.6f}" for metric, value in every.items()},
    }
    return facts, output


def enter(step: StepRun, output, facts: dict, manifest, scores: dict, made_up: bool) -> tuple:
    """Make the model a version, or complete the one that a run of the same key left; the version and its record."""
    from provenance.record import names
    from provenance.registry import promotions
    from steps.models.judged_on import description
    from steps.pages.split_inputs import measured_on

    waiting = {names.DECISION: promotions.UNDECIDED, names.REASON: f"run {step.run_id} is not through with it"}
    # The record's name, not the option's: auto was resolved by then.
    version, entered = promotions.enter(
        step.session, step.lineage.params["model_name"], output, facts | waiting, description(made_up)
    )
    if entered is not output:  # logged by a run that was killed, perhaps before its scores
        of_model = measured_on(scores, manifest, version.source.removeprefix("models:/"))
        step.client.log_batch(step.run_id, metrics=of_model)
    return version, entered


def gate(step: StepRun, search, chosen, dataset, predictor, judged, registered, version, output, on) -> None:
    """Let the version meet the champion; write what came of it on the run and, as the model card, on the version.

    The alias `candidate` is set last: a version that holds it has a card and a decision.
    """
    from mlflow.entities import Metric

    from provenance.record import names
    from provenance.record.writer import set_tags
    from provenance.reuse.consistency import PREDICTOR
    from steps.models import promotion
    from steps.models.logged_model import example
    from steps.pages.card import Subject, became, card
    from taxi.evaluation.evaluate import latency_ms

    manifest = dataset.manifest
    size = sum(size for path, (size, _) in output.files.items() if path.startswith(PREDICTOR))
    figures = registered.figures(latency_ms(predictor, example(manifest.taxi).iloc[:1]), size)
    contender = promotion.Contender(
        version, registered, figures, manifest.taxi, manifest.months("test"), lambda: dataset.batches("test"), on
    )

    def subject(decision) -> Subject:
        return Subject(
            search.family, dataset.features.feature_set, manifest, chosen.trial, str(step.params["select"]),
            str(step.params["refit"]), chosen.metrics, judged, registered, decision, search.run_id, step.run_id,
            step.session.open_run.info.experiment_id, on.made_up,
        )  # fmt: skip

    def publish(decision) -> None:
        step.client.update_model_version(version.name, version.version, card(subject(decision)))

    decision, measured = promotion.decide_on(step.session, contender, publish=publish)
    step.client.set_registered_model_alias(version.name, names.CANDIDATE, version.version)
    measured |= {"registered_worst_zones_rmse": figures.zones_rmse, "registered_worst_hour_rmse": figures.hour_rmse,
                 "registered_model_mb": figures.model_mb}  # fmt: skip
    step.client.log_batch(step.run_id, metrics=[Metric(name, value, 0, 0) for name, value in measured.items()])
    step.say(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}")
    set_tags(step.client, step.run_id, {"decision": f"{decision.word}: {decision.reason}"})
    step.note = became(decision)


def report(session, hit) -> list[str]:
    from provenance.registry.aliases import version_of

    name, version = version_of(hit)
    aliases = ", ".join(sorted(session.client.get_model_version(name, version).aliases))
    scores = hit.metrics
    return [
        f"test_rmse {scores['test_rmse']:.4f} min  as registered {scores['registered_test_rmse']:.4f} min",
        f"{name} version {version} ({aliases})",
    ]


if __name__ == "__main__":
    register()
