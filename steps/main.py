"""main: the whole chain, each step a child run started with `mlflow run` and handed the URI of the step before."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.output import echo
from steps.options import DATA, RUN, TRIALS, StepCommand, options

CHAIN = (*DATA, "model", "params", *TRIALS, "select", "refit", "model_name")  # parameters of a whole chain


@click.command(cls=StepCommand)
@options(*CHAIN, *RUN)
@checked
def main(**params) -> None:
    """Run preprocess, train (the baseline), hpo and register; finished steps with the same key are reused."""
    from provenance.pipeline.chain_run import run_chain
    from provenance.pipeline.graph import Graph
    from provenance.record import names
    from steps.pages import results
    from steps.pipeline import PIPELINE

    params = prepared(params)

    def steps(session) -> dict:
        return Graph(session, params).make(PIPELINE.names, "main", reuse=params["reuse"])

    def conclude(session, made: dict) -> int:
        for line in summary(session, made):
            echo(line)
        return 0

    run_chain(PIPELINE, "main", params, steps, conclude, {names.FAMILY: params["model"]}, about=results.main)


def prepared(params: dict) -> dict:
    """The parameters as the steps take them: a file of parameters read, the registered model named."""
    from steps.models.judged_on import model_name_for
    from steps.train import params_text

    name = model_name_for(params["source"]) if params["model_name"] == "auto" else params["model_name"]
    return {**params, "params": params_text(params["params"]), "model_name": name}


def summary(session, made: dict) -> list[str]:
    """The lines at the end: the version, its metrics, the comparison with the champion, and where to look."""
    from provenance.registry.aliases import version_of
    from steps.pages.look import look

    metrics, baseline = made["register"].metrics, made["train"].metrics
    name, version = version_of(made["register"])
    aliases = ", ".join(sorted(session.client.get_model_version(name, version).aliases))
    return [
        f"baseline val_rmse {baseline['val_rmse']:.3f} min, best trial val_rmse {metrics['val_rmse']:.3f} min",
        f"{name} version {version} ({aliases})  test_rmse {metrics['test_rmse']:.3f} min{again(metrics)}",
        *above_floor(made),
        *look(session, name, version),
    ]


def again(metrics: dict) -> str:
    """The registered model on the same test months, when it was fitted again after it was judged."""
    registered = metrics["registered_test_rmse"]
    return "" if registered == metrics["test_rmse"] else f", {registered:.3f} min fitted again on train and val"


def above_floor(made: dict) -> list[str]:
    """Against the RMSE of a perfect model, which only the embedded sample knows."""
    floor = made["preprocess"].metrics.get("floor_rmse")
    if not floor:
        return []
    above = made["register"].metrics["test_rmse"] / floor - 1
    return [f"floor {floor:.3f} min (a perfect model): test_rmse is {above:.1%} above it"]


if __name__ == "__main__":
    main()
