"""hpo: a dataset artifact -> the searched trials (nested runs, ``search/``) and the best of them as models."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import json
import threading
from functools import partial

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.step_run import StepRun, run_step
from steps.options import DATA, RUN, TRIALS, StepCommand, options

ENDS = ("max_evals", "stop_after", "top_n")  # parameters that only say where a search ends or what it keeps


def workers_begin(engine: str, model: str, **params) -> None:
    """Let the workers' process import, for seconds, while this one does."""
    if engine == "local":
        from search.engines.local import prepare
        from taxi.models.objective import modules

        prepare(modules(model))


@click.command(cls=StepCommand)
@options("dataset", "model", *TRIALS, *DATA, *RUN)
@checked(early=workers_begin)
def hpo(**params) -> None:
    """Search a family's hyperparameters with hyperopt's TPE; the same trials at any number of workers."""
    from provenance.record import names
    from steps.pages import results
    from steps.pipeline import HPO, PIPELINE

    run_step(PIPELINE, HPO, params, work, report, tags={names.FAMILY: params["model"]}, about=results.hpo)


def work(step: StepRun) -> None:
    from provenance.record import names
    from provenance.record.artifacts import address, open_verified
    from provenance.record.writer import set_tags
    from provenance.reuse.trial_runs import TrialRuns, Trials, search_key
    from runtime.progress import following
    from search import tpe
    from search.space import space_table
    from steps.models.search_outputs import write_search_outputs
    from steps.pages.split_inputs import log_splits
    from steps.pipeline import SEARCH_METRIC
    from steps.worker_code import worker_code
    from taxi.dataset.dataset import Dataset
    from taxi.distributed.trial_engine import open_engine
    from taxi.models.families import FAMILIES
    from taxi.models.objective import Objective

    params, source = step.params, step.input("dataset")
    max_evals, top_n = int(params["max_evals"]), int(params["top_n"])
    key = search_key(step.lineage, ENDS)
    set_tags(step.client, step.run_id, {names.SEARCH_KEY: key})
    with open_verified(source, given=True) as folder:
        dataset = Dataset.open(folder)
        manifest = dataset.manifest
        log_splits(step.client, step.run_id, dataset.folder, manifest, source.uri, ("train", "val"))
        family = FAMILIES[str(params["model"])]
        trials = Trials(key, top_n, SEARCH_METRIC, partial(verified, family.name, dataset.split("val")))
        runs = TrialRuns(
            step.client, step.session.open_run.info.experiment_id, step.run_id, trials, step.session.project
        )
        known = taken_up(step, runs, max_evals) if params["reuse"] else {}
        step.explain(space_table(family.space_rows(manifest.feature_set)))
        timeout = float(params["trial_timeout"]) or None
        workers, most = int(params["workers"]), min(int(params["batch"]), max_evals)  # at once: wanted, possible
        objective = Objective(family.name, manifest.feature_set, int(params["seed"]), timeout)
        engine, uri, code = str(params["engine"]), address(source.uri), worker_code(step)
        with (
            runs,
            following("hpo", "trials", step.session.progress) as progress,
            open_engine(engine, objective, dataset, uri, workers, most, code) as running,
        ):
            step.say(f"{running.workers} trials at once, one thread each")
            threading.Thread(target=needed_at_the_end, daemon=True, name="imports").start()  # while others work

            def on_told(result) -> None:
                runs.follow(result)
                progress(result.number + 1, max_evals)

            results = tpe.search(
                family.space(manifest.feature_set),
                running.submit,
                max_evals=max_evals,
                batch=int(params["batch"]),
                seed=int(params["seed"]),
                workers=running.workers,
                stop_after=int(params["stop_after"]),
                known=known,
                on_unlike=lambda result: unlike(step, runs, result),
                on_finished=runs.log,
                on_told=on_told,
            )
        warn_of_edges(step, family, manifest.feature_set, results)
        write_search_outputs(step, dataset, family, objective, results, runs)


def verified(family: str, val, result, files: dict[str, bytes]) -> bool:
    """Whether a trial's files are a model that has the scores on the split `val` which its result says."""
    from taxi.models.objective import rescored

    return rescored(family, files, val) == (result.metrics, result.best_iteration)


def taken_up(step: StepRun, runs, max_evals: int) -> dict:
    """Trials that earlier searches ran; see TrialRuns.known for what is believed of whom."""
    session = step.session
    known = runs.known(max_evals, session.trusted_experiments, session.own_experiments, step.say)
    if known:
        step.say(f"{len(known)} trials are known from earlier searches and are not run again")
    return known


def warn_of_edges(step: StepRun, family, features: str, results) -> None:
    """Say on stderr and on the page where the best trial lies at an end of the search space."""
    from search import tpe
    from search.space import edges
    from taxi.models.family import Range

    limits = {name: (it.low, it.high) for name, it in family.kind.params.ranges.items() if isinstance(it, Range)}
    for best in tpe.best(results):
        if found := edges(family.space_rows(features), best.params, limits):
            where = f"the best trial lies at the edge of the search space: {', '.join(found)}"
            line = f"{where}; a wider space may have a better one"
            step.say(f"warning: {line}")
            step.note = f"**Warning**: {line}.\n\n{step.note}"


def unlike(step: StepRun, runs, result) -> None:
    """A known trial whose parameters this search does not suggest: its result was altered, or another's before it."""
    step.say(f"trial {result.number} is run again: the earlier one had other parameters than this search suggests")
    runs.forget(result)


def needed_at_the_end() -> None:
    """A second of imports."""
    from steps.models import logged_model  # noqa: F401
    from steps.pages import search_page  # noqa: F401


def report(session, hit) -> list[str]:
    from provenance.record import names
    from provenance.record.artifacts import small_file
    from provenance.reuse.consistency import candidates

    output = hit.outputs[names.SEARCH]
    best = candidates(output)["candidates"][0]
    params = json.loads(small_file(f"{output.uri}/{names.BEST_PARAMS_FILE}"))
    return [
        f"best val_rmse {best['val_rmse']:.4f} min  trial {best['trial']}  params {json.dumps(params, sort_keys=True)}",
        f"search {output.uri}",
    ]


if __name__ == "__main__":
    hpo()
