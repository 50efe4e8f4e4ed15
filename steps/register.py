"""register: an hpo run -> the chosen candidate, judged on test, fitted again, as a version that meets the gate."""

import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import click

from steps.door import StepRun, checked, run_step
from steps.options import DATA, RUN, TRIALS, options


class RegisterError(ValueError):
    """An hpo run from which nothing can be registered."""


@click.command()
@options("search", "select", "refit", "model_name", "model", *TRIALS, *DATA, *RUN)
@checked
def register(**params) -> None:
    """Choose among the best trials of an hpo run, judge on test, fit again, register; champion if the gate opens."""
    from steps.graph import REGISTER

    run_step(REGISTER, params, work, report)


def work(step: StepRun) -> None:
    from taxi.dataset import Dataset
    from taxi.judging import Judged
    from taxi.progress import counted, following
    from taxi.refit import refitted
    from taxi.slices import Rows
    from tracking import names
    from tracking.candidates import Candidates
    from tracking.inputs import log_splits

    search = Candidates.read(step.session, step.input("search").uri)
    dataset = Dataset.open(step.folder(search.dataset))
    if "test" not in dataset.manifest.splits:
        raise RegisterError("the dataset has no test months, so nothing can be judged\n Give test_months.")
    again = step.params["refit"] != "train"
    learned = ("train", "val") if again else ("train",)
    log_splits(step.client, step.run_id, dataset.manifest, search.dataset.uri, (*learned, "test"))
    trips = dataset.manifest.rows("test")

    def test():
        return counted(dataset.batches("test"), "judge", trips, "trips", len)

    rows = Rows.read(test())
    chosen = search.choose(int(step.params["top_n"]), str(step.params["select"]), dataset, rows)
    predictor = chosen.predictor_with_intervals(dataset)
    judged = registered = Judged.of(predictor, rows, test())
    if again:
        step.say(f"fitting trial {chosen.trial} again, on the train and val months")
        threading.Thread(target=needed_after_it, daemon=True, name="imports").start()  # while XGBoost works
        with following("fit again", "rounds at most", step.session.progress) as progress:
            predictor = refitted(predictor, dataset, search.seed, progress)
        registered = Judged.of(predictor, rows, test())
    draw(step, predictor, registered)
    months = [month for split in learned for month in dataset.manifest.months(split)]
    version, output = enter(step, search, chosen, predictor, judged, registered, months)
    gate(step, search, chosen, dataset, predictor, judged, registered, version, output)
    step.keep(replace(output, name=names.VERSION, uri=f"models:/{version.name}/{version.version}"))


def needed_after_it() -> None:
    """A second of imports."""
    import taxi.plots  # noqa: F401
    import tracking.gate
    import tracking.models  # noqa: F401


def enter(step: StepRun, search, chosen, predictor, judged, registered, months: list[str]) -> tuple:
    """Log the model and its scores, and make it a version with the alias `candidate`; the version and its record."""
    from mlflow.entities import Metric

    from tracking import models, names, registry

    client, name = step.client, str(step.params["model_name"])
    test_scores, scores = judged.metrics("test"), registered.metrics("registered_test")
    tags = {names.FAMILY: search.family, names.FEATURES: search.features, "trial": str(chosen.trial),
            "refit": str(step.params["refit"])}  # fmt: skip
    fitted_with = predictor.estimator.params.as_dict()
    _, output = models.log(predictor, step.run_id, "model", fitted_with, scores, tags)
    for metric, value in test_scores.items():
        client.log_metric(step.run_id, metric, value, model_id=chosen.model.uri.removeprefix("models:/"))
    every = {**chosen.metrics, **test_scores, **scores}
    client.log_batch(step.run_id, metrics=[Metric(metric, value, 0, 0) for metric, value in every.items()])
    facts = {
        **tags,
        names.KEY: step.lineage.key,
        names.LEARNED_MONTHS: ",".join(months),
        "run_id": step.run_id,
        "search_run_id": search.run_id,
        **{metric: f"{value:.6f}" for metric, value in every.items()},
    }
    version = registry.register(client, name, output, facts)
    client.set_registered_model_alias(name, names.CANDIDATE, version.version)
    return version, output


def gate(step: StepRun, search, chosen, dataset, predictor, judged, registered, version, output) -> None:
    """Let the version meet the champion; write what came of it on the run and, as the model card, on the version."""
    from mlflow.entities import Metric

    from taxi.judging import latency_ms
    from tracking import gate
    from tracking.card import Subject, card, summary
    from tracking.models import PREDICTOR, example
    from tracking.record import describe

    manifest = dataset.manifest
    size = sum(size for path, (size, _) in output.files.items() if path.startswith(PREDICTOR))
    figures = registered.figures(latency_ms(predictor, example(manifest.taxi).iloc[:1]), size)
    contender = gate.Contender(
        version, registered, figures, manifest.taxi, manifest.months("test"), lambda: dataset.batches("test")
    )
    decision, measured = gate.decide_on(step.session, contender)
    measured |= {"registered_worst_zones_rmse": figures.zones_rmse, "registered_worst_hour_rmse": figures.hour_rmse,
                 "registered_model_mb": figures.model_mb}  # fmt: skip
    step.client.log_batch(step.run_id, metrics=[Metric(name, value, 0, 0) for name, value in measured.items()])
    step.say(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}")
    describe(step.client, step.run_id, {"decision": f"{decision.word}: {decision.reason}"})
    subject = Subject(
        search.family, dataset.features.feature_set, manifest, chosen.trial, str(step.params["select"]),
        str(step.params["refit"]), chosen.metrics, judged, registered, decision, search.run_id, step.run_id,
        step.session.run.info.experiment_id,
    )  # fmt: skip
    step.client.update_model_version(version.name, version.version, card(subject))
    step.note = summary(subject)


def draw(step: StepRun, predictor, judged) -> None:
    """How the registered model errs on the test months, under ``plots/``."""
    from taxi import plots
    from tracking import names

    rows = judged.rows
    figures = {
        "residuals.png": plots.residuals(rows.y, judged.predicted),
        "error_by_hour.png": plots.error_by_hour(rows.hour, judged.error),
        "error_by_zone.png": plots.error_by_zone(rows.zone, judged.error),
        "interval_coverage.png": plots.interval_coverage(rows.y, judged.predicted, judged.low, judged.high),
        "importance.png": plots.importance(predictor.estimator.importance(), "columns"),
    }
    with tempfile.TemporaryDirectory(prefix="plots-") as folder:
        for name, figure in figures.items():
            plots.save(figure, Path(folder, name))
        step.client.log_artifacts(step.run_id, folder, names.PLOTS)


def report(session, hit) -> list[str]:
    from tracking.aliases import version_of

    name, version = version_of(hit)
    aliases = ", ".join(sorted(session.client.get_model_version(name, version).aliases))
    scores = hit.metrics
    return [
        f"test_rmse {scores['test_rmse']:.4f} min  as registered {scores['registered_test_rmse']:.4f} min",
        f"{name} version {version} ({aliases})",
    ]


if __name__ == "__main__":
    register()
