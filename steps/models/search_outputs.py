"""What a search leaves behind: ``search/``, the best trials as logged models, pictures, a summary on its page."""

import tempfile
from pathlib import Path

from provenance.pipeline.step_run import StepRun


class SearchFailed(ValueError):
    """A search none of whose trials finished."""


def write_search_outputs(step: StepRun, dataset, family, objective, results, runs) -> None:
    """Write ``search/``, log the best trials' models and the plots, keep all of them as outputs."""
    from mlflow.entities import Metric

    from provenance.record import names
    from provenance.record.artifacts import log_folder
    from runtime.progress import counted
    from search import tpe
    from search.trials_table import write_trials
    from taxi.models.family import write_json

    manifest = dataset.manifest
    best = tpe.best(results, int(step.params["top_n"]))
    if not best:
        failures = sorted({result.error for result in results if result.error})
        raise SearchFailed(f"none of {len(results)} trials finished: {'; '.join(failures)[:300]}\n See the trial runs.")
    counting = counted(best, "keep models", len(best), "models")
    models = [log_candidate(step, dataset, family, objective, result, runs) for result in counting]
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
        step.keep(log_folder(step.client, step.run_id, folder, names.SEARCH))
        log_search_plots(step, results, family.space_rows(manifest.feature_set), folder)
    for output in models:
        step.keep(output)
    step.explain("\n\n".join([summary(step, best[0], len(results)), step.note]))
    scores = {**best[0].metrics, "best_trial": best[0].number, "trials_failed": sum(r.status != "ok" for r in results)}
    step.client.log_batch(step.run_id, metrics=[Metric(key, value, 0, len(results)) for key, value in scores.items()])


def summary(step: StepRun, best, trials: int) -> str:
    """What came of it, and the command that fits the best again."""
    from provenance.record import names

    params = f"runs:/{step.run_id}/{names.SEARCH}/{names.BEST_PARAMS_FILE}"
    return (
        f"Of {trials} trials trial {best.number} is the best: validation RMSE **{best.val_rmse:.4f} minutes**. "
        f"To fit it alone: `-e train -P model={step.params['model']} -P params={params}`"
    )


def log_search_plots(step: StepRun, results, dimensions, folder: Path) -> None:
    """The search in pictures, under ``plots/``; no output, so nothing depends on how it is drawn."""
    from provenance.record import names
    from runtime import plotting
    from search import trial_plots
    from search.importance import hyperparameter_importance
    from search.parallel_coordinates import parallel_coordinates

    drawn = folder / names.PLOTS
    plotting.save(trial_plots.convergence(results), drawn / "convergence.png")
    if shares := hyperparameter_importance(results):
        plotting.save(trial_plots.importance(shares, "hyperparameters"), drawn / "hyperparameter_importance.png")
    (drawn / "parallel_coordinates.html").write_text(parallel_coordinates(results, dimensions), encoding="utf-8")
    step.client.log_artifacts(step.run_id, str(drawn), names.PLOTS)


def log_candidate(step: StepRun, dataset, family, objective, result, runs):
    """One of the best trials as a logged model of its nested run."""
    from dataclasses import replace

    from search.trial import estimator_folder
    from steps.models import logged_model
    from taxi.models.families import load
    from taxi.models.predictor import Predictor

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
    with estimator_folder(files) as folder:
        predictor = Predictor(dataset.manifest.taxi, dataset.features, load(family.name, folder))
        tags = {"family": family.name, "features": dataset.manifest.feature_set, "trial": str(result.number)}
        _, output = logged_model.log(
            predictor, runs.runs[result.number], f"trial-{result.number}", result.params, result.metrics, tags
        )
    return replace(output, name=f"model-{result.number}")
