"""train: a dataset artifact -> one fitted model of the family, logged as ``model`` with its validation metrics."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import json
from contextlib import closing

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.step_run import StepRun, run_step
from steps.options import DATA, RUN, StepCommand, options, xgboost_alone


@click.command(cls=StepCommand)
@options("dataset", "model", "params", "seed", "fit_workers", *DATA, "engine", *RUN)
@checked(early=xgboost_alone)
def train(**params) -> None:
    """Fit one model of a family and log it: it takes raw trips and gives minutes."""
    from provenance.record import names
    from steps.pages import results
    from steps.pipeline import PIPELINE, TRAIN

    params["params"] = params_text(params["params"])
    if params["fit_workers"] > 1 and params["model"] != "xgboost":
        raise NotSharedError(
            f"fit_workers {params['fit_workers']}: a {params['model']} fit cannot be shared\n"
            " Give model=xgboost, or fit_workers=1."
        )
    run_step(PIPELINE, TRAIN, params, work, report, tags={names.FAMILY: params["model"]}, about=results.train)


class NotSharedError(ValueError):
    """A family whose fit is one worker's."""


class ParamsUriError(ValueError):
    """`params` that is neither `default`, nor JSON, nor the URI of a JSON artifact."""


def params_text(given: str) -> str:
    """``default``, or the JSON object that `given` is or that lies at the URI it is."""
    if given == "default":
        return given
    text = given
    if not given.lstrip().startswith("{"):
        from provenance.record.artifacts import ArtifactError, open_artifact, read_small

        try:
            with open_artifact(given, given=True) as path:
                text = read_small(path, given).decode()
        except (ArtifactError, OSError, UnicodeDecodeError) as error:
            raise ParamsUriError(
                f"params {given!r:.200}: {error}\n Give default, inline JSON such as '{{\"max_depth\": 6}}', or the "
                "URI of a JSON artifact such as runs:/<hpo run id>/search/best_params.json."
            ) from error
    try:
        parsed = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ParamsUriError(
            f"params is not JSON ({error})\n Quote it for the shell: -P params='{{\"max_depth\": 6}}'"
        ) from error
    if not isinstance(parsed, dict):
        raise ParamsUriError('--params is JSON, but not an object\n Give {"name": value, ...}.')
    return json.dumps(parsed, sort_keys=True)


def work(step: StepRun) -> None:
    from mlflow.entities import Metric, Param

    from provenance.record import names
    from provenance.record.artifacts import open_verified
    from provenance.record.run_page import run_link
    from runtime.progress import bar, following
    from runtime.scratch import scratch_folder
    from search.curves import FIT_POINTS, thinned
    from steps import names as trip_names
    from steps.models import logged_model
    from steps.pages import results
    from steps.pages.split_inputs import log_splits
    from taxi.dataset.dataset import Dataset
    from taxi.evaluation.metrics import measured, metrics
    from taxi.models.families import FAMILIES
    from taxi.models.intervals import Intervals
    from taxi.models.predictor import Predictor

    source, seed = step.input("dataset"), int(step.params["seed"])
    family = FAMILIES[str(step.params["model"])]
    with open_verified(source, given=True) as folder, scratch_folder("bins") as scratch:
        dataset = Dataset.open(folder)
        manifest = dataset.manifest
        wanted = parameters(family, str(step.params["params"]), manifest.feature_set)
        splits = {name: dataset.split(name, scratch=scratch) for name in ("train", "val")}
        log_splits(step.client, step.run_id, dataset.folder, manifest, source.uri, splits)
        members, trips = int(step.params["fit_workers"]), f"{len(splits['train']):,} trips"
        if members > 1:
            step.say(f"fitting {family.name} on {trips}, shared by {members}, one thread each")
            estimator = shared(step, dataset, wanted, members)
        else:
            step.say(f"fitting {family.name} on {trips}, one thread")
            with following("train", "rounds at most", step.session.progress) as progress:
                estimator = family.fit(splits["train"], splits["val"], wanted, seed, progress=progress)
        splits["train"].memo.clear()  # what the fit alone needed
        scores: dict[str, float] = {}
        with closing(bar("score", sum(map(len, splits.values())), "trips")) as drawn:
            for name, split in splits.items():
                y, predicted = measured(estimator, split, drawn.update)
                scores |= metrics(y, predicted, name)
        predictor = Predictor(manifest.taxi, dataset.features, estimator, Intervals.learn(y, predicted))  # of val
    fitted_with = {"random_state": step.params["seed"], **estimator.params.as_dict()}
    points = []
    for name, values in estimator.curves.items():
        curve = thinned(values, estimator.best_iteration, FIT_POINTS)
        points += [Metric(names.BY_ROUND + name, value, 0, number) for number, value in curve]
    params = [Param(name, str(value)) for name, value in fitted_with.items()]
    step.client.log_batch(step.run_id, params=params, metrics=points)
    tags = {names.FAMILY: family.name, trip_names.FEATURES: manifest.feature_set}
    name = logged_model.model_name(predictor, manifest.months("train"))
    about = results.fitted(family.name, manifest.taxi, manifest.month_span("train"), scores, run_link(step.run_id))
    _, output = logged_model.log(predictor, step.run_id, name, fitted_with, scores, tags, manifest, about)
    step.keep(output)


def shared(step: StepRun, dataset, params, members: int):
    """The estimator that so many processes fit together, or so many of a cluster's workers."""
    from provenance.record.artifacts import address
    from runtime.files import sha256_file
    from search.trial import estimator_folder
    from steps.worker_code import worker_code
    from taxi.dataset.manifest import MANIFEST
    from taxi.distributed.shared_fit import Member, fit_shared
    from taxi.models.families import load

    engine = str(step.params["engine"])
    uri = str(dataset.folder) if engine == "local" else address(step.input("dataset").uri)
    member = Member(uri, sha256_file(dataset.folder / MANIFEST), params, int(step.params["seed"]), members)
    with estimator_folder(fit_shared(engine, member, worker_code(step))) as folder:
        return load(params.family, folder)


def parameters(family, given: str, features: str):
    """The family's parameters: its defaults for these features, or `given` over them. Raises ParamsError."""
    return family.default_params(features) if given == "default" else family.parse(json.loads(given), features)


def report(session, hit) -> list[str]:
    from provenance.record import names

    scores = hit.metrics
    return [
        f"val_rmse {scores['val_rmse']:.4f} min  val_mae {scores['val_mae']:.4f} min  val_r2 {scores['val_r2']:.4f}",
        f"model {hit.outputs[names.MODEL].uri}",
    ]


if __name__ == "__main__":
    train()
