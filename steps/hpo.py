"""hpo: a dataset artifact -> the searched trials (nested runs, ``search/``) and the best of them as models."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.step_run import StepRun, run_step
from steps.options import DATA, RUN, TRIALS, StepCommand, options


def workers_begin(engine: str, model: str, **params) -> None:
    """Let the workers' process import, for seconds, while this one does."""
    import steps.xgboost_alone  # noqa: F401

    if engine == "local":
        from search.engines.local import prepare
        from taxi.models.objective import modules

        prepare(("steps.xgboost_alone", *modules(model)))


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
    from provenance.pipeline.search_run import run_search
    from provenance.record.artifacts import address, open_verified
    from steps.models.trial_models import TripModels
    from steps.pages.split_inputs import log_splits
    from steps.worker_code import worker_code
    from taxi.dataset.dataset import Dataset
    from taxi.distributed.trial_engine import open_engine
    from taxi.models.objective import Objective

    params, source = step.params, step.input("dataset")
    with open_verified(source, given=True) as folder:
        dataset = Dataset.open(folder)
        features = dataset.manifest.feature_set
        log_splits(step.client, step.run_id, dataset.folder, dataset.manifest, source.uri, ("train", "val"))
        timeout = float(params["trial_timeout"]) or None
        objective = Objective(str(params["model"]), features, int(params["seed"]), timeout)
        workers, most = int(params["workers"]), min(int(params["batch"]), int(params["max_evals"]))  # wanted, possible
        where, uri, code = str(params["engine"]), address(source.uri), worker_code(step)
        engine = open_engine(where, objective, dataset, uri, workers, most, code)
        models = TripModels(step.run_id, dataset, objective)
        run_search(step, study(objective), engine, models, {"family": objective.family, "features": features})


def study(objective):
    """The search space of the objective's family."""
    from search.study import Study
    from steps.pipeline import SEARCH_METRIC
    from taxi.models.families import FAMILIES
    from taxi.models.family import Range

    family, features = FAMILIES[objective.family], objective.features
    limits = {
        name: (it.low, it.high) for name, it in family.default_params(features).ranges.items() if isinstance(it, Range)
    }
    return Study(family.space_rows(features), SEARCH_METRIC, objective, limits)


def report(session, hit) -> list[str]:
    from provenance.pipeline.search_run import report_search

    return report_search(session, hit)


if __name__ == "__main__":
    hpo()
