"""What a search leaves behind: ``search/`` and the best trials as logged models; then its page."""

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
    from steps.pages.search_page import log_search_plots
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
    for output in models:
        step.keep(output)
    log_search_plots(step.client, step.run_id, results, family.space_rows(manifest.feature_set))
    scores = {**best[0].metrics, "best_trial": best[0].number, "trials_failed": sum(r.status != "ok" for r in results)}
    step.client.log_batch(step.run_id, metrics=[Metric(key, value, 0, 0) for key, value in scores.items()])


def log_candidate(step: StepRun, dataset, family, objective, result, runs):
    """One of the best trials as a logged model of its nested run."""
    from dataclasses import replace

    from provenance.record.run_page import run_link
    from search.trial import estimator_folder
    from steps.models import logged_model
    from steps.pages import results
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
        manifest, run_id = dataset.manifest, runs.runs[result.number]
        name = f"{logged_model.model_name(predictor, manifest.months('train'))}-trial-{result.number}"
        made_by = f"{run_link(run_id, f'trial {result.number}')} of {run_link(step.run_id)}"
        about = results.fitted(family.name, manifest.taxi, manifest.month_span("train"), result.metrics, made_by)
        _, output = logged_model.log(predictor, run_id, name, result.params, result.metrics, tags, manifest, about)
    return replace(output, name=f"model-{result.number}")
