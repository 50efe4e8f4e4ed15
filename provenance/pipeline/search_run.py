"""Run a search as the work of a step. Its trials are runs; its outputs are ``search/`` and the models of the best."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlflow.entities import Metric

from provenance.pipeline.session import Session
from provenance.pipeline.step_run import StepRun
from provenance.record import names
from provenance.record.artifacts import log_folder, small_file
from provenance.record.lineage import Output
from provenance.record.writer import set_tags
from provenance.reuse.cache import Hit
from provenance.reuse.consistency import candidates
from provenance.reuse.trial_runs import TrialRuns, Trials, search_key
from runtime.files import write_json
from runtime.progress import counted, following, number_of
from search.engines.engine import Engine
from search.space import space_table
from search.trial import TrialResult

if TYPE_CHECKING:
    from search.study import Study  # which imports hyperopt: a step that reuses a run has no need of it

ENDS = ("max_evals", "stop_after", "top_n")  # parameters that only limit the number of trials or of kept models


class SearchFailed(ValueError):
    """No trial of a search succeeded, or a trial cannot be repeated."""


class TrialModels(Protocol):
    """What a project does with the models of its trials."""

    def import_libraries(self) -> None:
        """Import what the other methods need. It is called in a thread of its own while trials run."""
        ...

    def verify(self, result: TrialResult, files: dict[str, bytes]) -> bool:
        """Whether the files are a model that has the scores in the result. The files may come from a stranger."""
        ...

    def fit_again(self, result: TrialResult) -> TrialResult:
        """Run the trial again, because its model was not kept."""
        ...

    def log(self, result: TrialResult, files: dict[str, bytes], run_id: str) -> Output:
        """Log the model with the data `files` in the trial's run `run_id`, and return its record."""
        ...


def run_search(
    step: StepRun,
    study: Study,
    engine: AbstractContextManager[Engine],
    models: TrialModels,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Run a search, continue earlier searches with the same key, and keep its outputs.

    Parameters
    ----------
    step : StepRun
        The step that is running. Its parameters hold the `Settings`.
    study : Study
        Search space, metric and objective.
    engine : context manager of Engine
        Runs the trials.
    models : TrialModels
        Checks, fits and logs the models of trials.
    facts : mapping of str to str, optional
        Further fields of ``candidates.json``.

    Raises
    ------
    SearchFailed
        If no trial succeeded, or a repeated trial gave another model.
    EngineError
        If the engine fails.
    """
    from search.study import Settings

    settings, key = Settings.of(step.params), search_key(step.lineage, ENDS)
    set_tags(step.client, step.run_id, {names.SEARCH_KEY: key})
    trials = Trials(key, settings.top_n, study.metric, models.verify)
    session, experiment = step.session, step.session.open_run.info.experiment_id
    runs = TrialRuns(step.client, experiment, step.run_id, trials, session.project, session.signer)
    known = taken_up(step, runs, settings.max_evals) if step.params["reuse"] else {}
    step.explain(space_table(study.dimensions))
    with runs, following("hpo", "trials", step.session.progress) as progress, engine as running:
        step.say(f"{number_of(running.workers, 'trial')} at once, one thread each")
        # While others work:
        later = (models, settings.max_evals)
        threading.Thread(target=needed_at_the_end, args=later, daemon=True, name="imports").start()

        def on_told(result: TrialResult) -> None:
            runs.follow(result)
            progress(result.number + 1, settings.max_evals)

        results = study.search(
            running,
            settings,
            known,
            on_unlike=lambda result: unlike(step, runs, result),
            on_finished=runs.log,
            on_told=on_told,
        )
    warn_of_edges(step, study, results)
    keep(step, study, models, results, runs, settings.top_n, facts or {})


def taken_up(step: StepRun, runs: TrialRuns, max_evals: int) -> dict[int, TrialResult]:
    """The trials of earlier searches that can be reused; see `TrialRuns.known`."""
    session = step.session
    signatures = session.signatures if session.only_signed else None
    own = session.trusted_experiments if session.only_signed else session.own_experiments  # a signature says who ran it
    known = runs.known(max_evals, session.trusted_experiments, own, step.say, signatures)
    if known:
        step.say(f"{number_of(len(known), 'trial')} of earlier searches taken up, not run again")
    return known


def unlike(step: StepRun, runs: TrialRuns, result: TrialResult) -> None:
    """Forget a known trial whose parameters are not those that are suggested: it or an earlier one was altered."""
    step.say(f"trial {result.number} is run again: the earlier one had other parameters than this search suggests")
    runs.forget(result)


def needed_at_the_end(models: TrialModels, trials: int) -> None:
    """Import modules that are needed after a search of `trials` trials. This takes seconds."""
    from provenance.pages import importance, search_page  # noqa: F401

    if trials >= importance.LEAST_TRIALS:
        from sklearn import ensemble, inspection  # noqa: F401

    models.import_libraries()


def warn_of_edges(step: StepRun, study: Study, results: list[TrialResult]) -> None:
    """Warn on stderr and on the page if the best trial lies at an end of the search space."""
    if found := study.edges(results):
        where = f"the best trial lies at the edge of the search space: {', '.join(found)}"
        line = f"{where}; a wider space may have a better one"
        step.say(f"warning: {line}")
        step.note = f"**Warning**: {line}.\n\n{step.note}"


def keep(step: StepRun, study: Study, models: TrialModels, results: list[TrialResult], runs: TrialRuns, top_n: int,
         facts: Mapping[str, str]) -> None:  # fmt: skip
    """Write ``search/``, log the models of the best trials and the plots, and keep the outputs. Raises SearchFailed."""
    from provenance.pages.search_page import log_search_plots

    best = study.best(results, top_n)
    if not best:
        failures = sorted({result.error for result in results if result.error})
        trials = number_of(len(results), "trial")
        raise SearchFailed(f"none of {trials} finished: {'; '.join(failures)[:300]}\n See the trial runs.")
    counting = counted(best, "keep models", len(best), "models")
    logged = [log_candidate(step, models, result, runs) for result in counting]
    with tempfile.TemporaryDirectory(prefix="search-") as name:
        folder = Path(name)
        study.write(results, folder / names.TRIALS_FILE)
        write_json(folder / names.BEST_PARAMS_FILE, best[0].params)
        write_json(folder / names.SPACE_FILE, [vars(dimension) for dimension in study.dimensions])
        rows = [{"trial": result.number, "model_digest": result.model_digest, **result.metrics} for result in best]
        found = {**facts, "dataset": step.input(names.DATASET).digest, "candidates": rows}
        write_json(folder / names.CANDIDATES_FILE, found)
        step.keep(log_folder(step.client, step.run_id, folder, names.SEARCH))
    for output in logged:
        step.keep(output)
    log_search_plots(step.client, step.run_id, results, study)
    scores = {**best[0].metrics, "best_trial": best[0].number, "trials_failed": sum(r.status != "ok" for r in results)}
    step.client.log_batch(step.run_id, metrics=[Metric(key, value, 0, 0) for key, value in scores.items()])


def log_candidate(step: StepRun, models: TrialModels, result: TrialResult, runs: TrialRuns) -> Output:
    """Log the model of one of the best trials in its nested run. Raises SearchFailed if it cannot be repeated."""
    files = runs.files(result)
    if files is None:
        # An earlier search kept fewer models. The same trial gives the same bytes.
        step.say(f"fitting trial {result.number} again: its model was not kept")
        again = models.fit_again(result)
        if again.model_digest != result.model_digest:
            raise SearchFailed(
                f"trial {result.number} gave another model than recorded\n Run with -P reuse=false, or another seed."
            )
        files = again.files
    return replace(models.log(result, files, runs.runs[result.number]), name=f"{names.MODEL}-{result.number}")


def report_search(session: Session, hit: Hit) -> list[str]:
    """The lines that a searching step prints at its end: the best trial and the URI of the search."""
    metric = next(metric for metric in session.pipeline.headline if metric.name in hit.metrics)
    output = hit.outputs[names.SEARCH]
    best = candidates(output)["candidates"][0]
    params = json.loads(small_file(f"{output.uri}/{names.BEST_PARAMS_FILE}"))
    value = f"{best[metric.name]:.4f} {metric.unit}".rstrip()
    return [
        f"best {metric.name} {value}  trial {best['trial']}  params {json.dumps(params, sort_keys=True)}",
        f"search {output.uri}",
    ]
