"""hpo: a dataset artifact -> the searched trials (nested runs, ``search/``) and the best of them as models."""

import json
import tempfile
from pathlib import Path

import click

from steps.door import StepRun, checked, run_step
from steps.options import DATA, RUN, TRIALS, options


class SearchFailed(ValueError):
    """A search none of whose trials finished."""


@click.command()
@options("dataset", "model", *TRIALS, *DATA, *RUN)
@checked
def hpo(**params) -> None:
    """Search a family's hyperparameters with hyperopt's TPE; the same trials at any number of workers."""
    from steps.graph import HPO
    from tracking import names

    run_step(HPO, params, work, report, tags={names.FAMILY: params["model"]})


def work(step: StepRun) -> None:
    from taxi.engines.local import prepare
    from taxi.trials import modules

    if step.params["engine"] == "local":
        prepare(modules(str(step.params["model"])))  # workers import while this process does

    from taxi import search as tpe
    from taxi.dataset import Dataset
    from taxi.engines.opening import opened
    from taxi.models import FAMILIES
    from taxi.progress import following
    from taxi.space_table import space_table
    from taxi.trials import Objective
    from tracking import names
    from tracking.artifacts import address, unaltered
    from tracking.inputs import log_splits
    from tracking.record import describe
    from tracking.trials import TrialRuns, search_key

    params, source = step.params, step.input("dataset")
    max_evals, top_n = int(params["max_evals"]), int(params["top_n"])
    key = search_key(step.lineage)
    describe(step.client, step.run_id, {names.SEARCH_KEY: key})
    runs = TrialRuns(step.client, step.session.run.info.experiment_id, step.run_id, key, top_n)
    known = runs.known(max_evals) if params["reuse"] else {}
    if known:
        step.say(f"{len(known)} trials are known from earlier searches and are not run again")
    with unaltered(source) as folder:
        dataset = Dataset.open(folder)
        manifest = dataset.manifest
        log_splits(step.client, step.run_id, manifest, source.uri, ("train", "val"))
        family = FAMILIES[str(params["model"])]
        step.explain(space_table(family.space_rows(manifest.feature_set)))
        timeout = float(params["trial_timeout"]) or None
        workers, most = int(params["workers"]), min(int(params["batch"]), max_evals)  # at once: wanted, possible
        objective = Objective(family.name, manifest.feature_set, int(params["seed"]), timeout)
        with (
            following("hpo", "trials", step.session.progress) as progress,
            opened(str(params["engine"]), objective, dataset, address(source.uri), workers, most) as engine,
        ):
            step.say(f"{engine.workers} trials at once, one thread each")

            def on_told(result) -> None:
                runs.follow(result)
                progress(result.number + 1, max_evals)

            results = tpe.search(
                family.space(manifest.feature_set),
                engine.submit,
                max_evals=max_evals,
                batch=int(params["batch"]),
                seed=int(params["seed"]),
                workers=engine.workers,
                stop_after=int(params["stop_after"]),
                known=known,
                on_finished=runs.log,
                on_told=on_told,
            )
        leave(step, dataset, family, objective, results, runs)


def leave(step: StepRun, dataset, family, objective, results, runs) -> None:
    """Write ``search/``, log the best trials' models and the plots, keep all of them as outputs."""
    from mlflow.entities import Metric

    from taxi import search as tpe
    from taxi.family import write_json
    from taxi.trials_table import write_trials
    from tracking import names
    from tracking.artifacts import log_folder

    manifest = dataset.manifest
    best = tpe.best(results, int(step.params["top_n"]))
    if not best:
        failures = sorted({result.error for result in results if result.error})
        raise SearchFailed(f"none of {len(results)} trials finished: {'; '.join(failures)[:300]}\n See the trial runs.")
    models = {}
    for result in best:
        models[result.number] = log_candidate(step, dataset, family, objective, result, runs)
    with tempfile.TemporaryDirectory(prefix="search-") as name:
        folder = Path(name)
        write_trials(results, folder / names.TRIALS_FILE)
        write_json(folder / names.BEST_PARAMS_FILE, best[0].params)
        write_json(folder / names.SPACE_FILE, [vars(row) for row in family.space_rows(manifest.feature_set)])
        candidates = [
            {"trial": result.number, "model_digest": result.model_digest, **result.metrics} for result in best
        ]
        found = {"family": family.name, "features": manifest.feature_set, "dataset": step.input("dataset").digest}
        write_json(folder / names.CANDIDATES_FILE, {**found, "candidates": candidates})
        write_json(folder / names.MODELS_FILE, {str(number): output.uri for number, output in models.items()})
        step.keep(log_folder(step.client, step.run_id, folder, names.SEARCH, volatile=(names.MODELS_FILE,)))
        draw(step, results, family.space_rows(manifest.feature_set), folder)
    for output in models.values():
        step.keep(output)
    step.explain("\n\n".join([summary(step, best[0], len(results)), step.note]))
    scores = {**best[0].metrics, "best_trial": best[0].number, "trials_failed": sum(r.status != "ok" for r in results)}
    step.client.log_batch(step.run_id, metrics=[Metric(key, value, 0, len(results)) for key, value in scores.items()])


def summary(step: StepRun, best, trials: int) -> str:
    """What came of it, and the command that fits the best again."""
    from tracking import names

    params = f"runs:/{step.run_id}/{names.SEARCH}/{names.BEST_PARAMS_FILE}"
    return (
        f"Of {trials} trials trial {best.number} is the best: validation RMSE **{best.val_rmse:.4f} minutes**. "
        f"To fit it alone: `-e train -P model={step.params['model']} -P params={params}`"
    )


def draw(step: StepRun, results, dimensions, folder: Path) -> None:
    """The search in pictures, under ``plots/``; no output, so nothing depends on how it is drawn."""
    from taxi import plots
    from taxi.influence import influence
    from taxi.parallel_coordinates import parallel_coordinates
    from tracking import names

    drawn = folder / names.PLOTS
    plots.save(plots.convergence(results), drawn / "convergence.png")
    if shares := influence(results):
        plots.save(plots.importance(shares), drawn / "hyperparameter_importance.png")
    (drawn / "parallel_coordinates.html").write_text(parallel_coordinates(results, dimensions), encoding="utf-8")
    step.client.log_artifacts(step.run_id, str(drawn), names.PLOTS)


def log_candidate(step: StepRun, dataset, family, objective, result, runs):
    """One of the best trials as a logged model of its nested run."""
    from dataclasses import replace

    from taxi.models import load
    from taxi.predictor import Predictor
    from tracking import models

    files = runs.files(result)
    if files is None:
        # Known from a search that kept fewer models: the same trial gives the same bytes.
        step.say(f"fitting trial {result.number} again: its model was not kept")
        again = objective((dataset.split("train"), dataset.split("val")), result.number, result.params)
        if again.model_digest != result.model_digest:
            raise SearchFailed(
                f"trial {result.number} gave another model than recorded\n Run with -P reuse=false, or another seed."
            )
        files = again.files
    with tempfile.TemporaryDirectory(prefix="estimator-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        predictor = Predictor(dataset.manifest.taxi, dataset.features, load(family.name, Path(folder)))
        tags = {"family": family.name, "features": dataset.manifest.feature_set, "trial": str(result.number)}
        _, output = models.log(
            predictor, runs.runs[result.number], f"trial-{result.number}", result.params, result.metrics, tags
        )
    return replace(output, name=f"model-{result.number}")


def report(session, hit) -> list[str]:
    from tracking import names
    from tracking.artifacts import fetched

    output = hit.outputs[names.SEARCH]
    with fetched(output.uri) as folder:
        best = json.loads((folder / names.CANDIDATES_FILE).read_text())["candidates"][0]
        params = json.loads((folder / names.BEST_PARAMS_FILE).read_text())
    return [
        f"best val_rmse {best['val_rmse']:.4f} min  trial {best['trial']}  params {json.dumps(params, sort_keys=True)}",
        f"search {output.uri}",
    ]


if __name__ == "__main__":
    hpo()
