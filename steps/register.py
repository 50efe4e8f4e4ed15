"""register: an hpo run -> the chosen candidate, judged on the test months, as a registered version with aliases."""

import json
import tempfile
from pathlib import Path

import click

from steps.door import StepRun, checked, run_step
from steps.options import DATA, RUN, TRIALS, options


class RegisterError(ValueError):
    """An hpo run from which nothing can be registered."""


@click.command()
@options("search", "select", "model_name", "model", *TRIALS, *DATA, *RUN)
@checked
def register(**params) -> None:
    """Choose among the best trials of an hpo run, judge on test, register; champion only if it beats the champion."""
    from steps.graph import REGISTER

    run_step(REGISTER, params, work, report)


def work(step: StepRun) -> None:
    from dataclasses import replace

    import numpy as np
    from mlflow.entities import Metric

    from taxi.dataset import Dataset
    from taxi.evaluation import metrics
    from taxi.intervals import coverage
    from tracking import models, names, registry
    from tracking.inputs import log_splits
    from tracking.record import describe

    client, session, params = step.client, step.session, step.params
    made = session.hit(step.input("search").uri.split("/")[1])
    source = next((item for item in made.lineage.inputs if item.role == "dataset"), None)
    found = json.loads((step.folder(made.outputs[names.SEARCH]) / names.CANDIDATES_FILE).read_text())
    candidates = found["candidates"][: int(params["top_n"])]
    dataset = Dataset.open(step.folder(source))
    manifest = dataset.manifest
    if "test" not in manifest.splits:
        raise RegisterError("the dataset has no test months, so nothing can be judged\n Give test_months.")
    test = dataset.load("test")
    log_splits(client, step.run_id, manifest, source.uri, ("test",))

    def model_of(candidate: dict):
        return made.outputs[f"{names.MODEL}-{candidate['trial']}"]

    def judged(candidate: dict) -> dict[str, float]:
        return metrics(test.y, predictor_of(model_of(candidate)).estimator.predict(test.X), "test")

    if params["select"] == "test":
        scores = [judged(candidate) for candidate in candidates]
        chosen = min(range(len(candidates)), key=lambda index: (scores[index]["test_rmse"], index))
        test_scores = scores[chosen]
    else:
        chosen, test_scores = 0, judged(candidates[0])
    candidate = candidates[chosen]
    model_name = str(params["model_name"])
    val_scores = {name: value for name, value in candidate.items() if name.startswith("val_")}

    predictor = with_intervals(predictor_of(model_of(candidate)), dataset)
    predicted = predictor.estimator.predict(test.X)
    low, high = predictor.intervals.bounds(predicted)
    test_scores |= {
        "test_coverage": coverage(test.y, low, high),
        "test_interval_width": float(np.mean(high - low)),
    }
    client.log_batch(step.run_id, metrics=[Metric(n, v, 0, 0) for n, v in {**val_scores, **test_scores}.items()])
    tags = {"family": found["family"], "features": found["features"], "trial": str(candidate["trial"])}
    fitted_with = predictor.estimator.params.as_dict()
    _, output = models.log(predictor, step.run_id, "model", fitted_with, {**val_scores, **test_scores}, tags)

    draw(step, dataset, predictor, predicted)

    champion = registry.holder(client, model_name, names.CHAMPION)
    champion_rmse = rmse_of(session, champion, dataset) if champion else None
    decision = registry.decide(test_scores["test_rmse"], champion_rmse, champion and champion.version)
    tags = {
        names.FAMILY: found["family"],
        names.FEATURES: found["features"],
        names.KEY: step.lineage.key,
        "run_id": step.run_id,
        "search_run_id": made.run_id,
        "trial": str(candidate["trial"]),
        **{name: f"{value:.6f}" for name, value in {**val_scores, **test_scores}.items()},
    }
    version = registry.register(client, model_name, output, tags)
    client.update_model_version(
        model_name, version.version, card(step, found, candidate, test_scores, manifest, decision)
    )
    client.set_registered_model_alias(model_name, names.CANDIDATE, version.version)
    if decision.promote:
        client.set_registered_model_alias(model_name, names.CHAMPION, version.version)
    step.say(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}")
    describe(client, step.run_id, {"decision": f"{'champion' if decision.promote else 'candidate'}: {decision.reason}"})
    step.keep(replace(output, name=names.VERSION, uri=f"models:/{model_name}/{version.version}"))


def with_intervals(predictor, dataset):
    """The predictor with intervals learned of the validation months, to which it was not fitted."""
    from dataclasses import replace

    import numpy as np

    from taxi.intervals import Intervals

    y = np.concatenate([batch["duration"].to_numpy() for batch in dataset.batches("val")])
    return replace(predictor, intervals=Intervals.learn(y, predictor.predict_valid(dataset.batches("val"))))


def draw(step: StepRun, dataset, predictor, predicted) -> None:
    """How the candidate errs on the test months, under ``plots/``."""
    from taxi import plots
    from tracking import names

    test = dataset.load("test")
    hour = dataset.trips("test")["pickup_datetime"].dt.hour.to_numpy()
    figures = {
        "residuals.png": plots.residuals(test.y, predicted),
        "error_by_hour.png": plots.error_by_hour(hour, predicted - test.y),
        "importance.png": plots.importance(predictor.estimator.importance()),
    }
    with tempfile.TemporaryDirectory(prefix="plots-") as folder:
        for name, figure in figures.items():
            plots.save(figure, Path(folder, name))
        step.client.log_artifacts(step.run_id, folder, names.PLOTS)


def predictor_of(model):
    """The predictor inside a logged model, from its data alone: none of the code that came with it runs."""
    from taxi.predictor import Predictor
    from tracking.artifacts import unaltered
    from tracking.models import PREDICTOR

    with unaltered(model) as folder:
        return Predictor.load(folder / PREDICTOR)


def rmse_of(session, champion, dataset) -> float | None:
    """The champion's RMSE on the same test rows, in minutes: through its own features, from the raw trips."""
    from taxi.evaluation import metrics
    from taxi.predictor import Predictor
    from tracking.artifacts import ArtifactError, fetched
    from tracking.models import PREDICTOR

    try:
        with fetched(f"models:/{champion.name}/{champion.version}") as folder:
            predictor = Predictor.load(folder / PREDICTOR)
    except ArtifactError as error:
        session.say(f"champion version {champion.version}: {error}")
        return None
    return metrics(dataset.load("test").y, predictor.predict(dataset.trips("test")), "test")["test_rmse"]


def card(step: StepRun, found: dict, candidate: dict, scores: dict, manifest, decision) -> str:
    """The version's description."""
    return "\n".join(
        [
            f"{found['family']} on features `{found['features']}`, {manifest.taxi} taxis.",
            "",
            "| | |",
            "| --- | --- |",
            *(
                f"| {split} months | {manifest.month_span(split)} ({manifest.rows(split):,} trips) |"
                for split in manifest.splits
            ),
            f"| chosen | trial {candidate['trial']} of the search, by {step.params['select']} RMSE |",
            f"| validation RMSE | {candidate['val_rmse']:.4f} min |",
            f"| test RMSE | {scores['test_rmse']:.4f} min |",
            f"| 90 % intervals | {scores['test_coverage']:.1%} of the test trips inside, "
            f"{scores['test_interval_width']:.2f} min wide |",
            f"| decision | {'champion' if decision.promote else 'candidate only'}: {decision.reason} |",
            f"| run | `{step.run_id}` |",
        ]
    )


def report(session, hit) -> list[str]:
    from tracking.registry import version_of

    name, version = version_of(hit)
    aliases = ", ".join(sorted(session.client.get_model_version(name, version).aliases))
    return [f"test_rmse {hit.metrics['test_rmse']:.4f} min", f"{name} version {version} ({aliases})"]


if __name__ == "__main__":
    register()
