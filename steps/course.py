"""course: the MLOps Zoomcamp's homework re-run, published answers beside reproduced ones; exit 1 if any differs."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import json

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.output import echo
from steps.options import RUN, StepCommand, options

# Published by the MLOps Zoomcamp (module 2, experiment tracking; module 1 for LinearRegression), digits as printed.
SEARCHED = {
    "train_months": "2023-01",
    "val_months": "2023-02",
    "test_months": "2023-03",
    "features": "course",
    "model": "random_forest",
    "params": "default",
    "max_evals": 15,
    "batch": 1,
    "seed": 42,
    "top_n": 5,
    "select": "test",
    "refit": "train",  # the published models saw January alone
    "trial_timeout": 0.0,
    "stop_after": 0,
    "engine": "local",
}
LINEAR = {**SEARCHED, "train_months": "2021-01", "val_months": "2021-02", "test_months": "none", "model": "linear"}
PUBLISHED = {
    "rows 2023-01": "65,946",
    "rows 2023-02": "62,574",
    "rows 2023-03": "69,392",
    "best validation RMSE": "5.335",
    "lowest test RMSE": "5.567",
    "rows 2021-01": "73,908",
    "rows 2021-02": "61,921",
    "LinearRegression validation RMSE": "7.7587",
}


@click.command(cls=StepCommand)
@options("source", "model_name", "workers", *RUN, source="tlc", model_name="nyc-taxi-duration-course")
@checked
def course(**params) -> None:
    """Reproduce the published answers of the course's homework on its own months."""
    from provenance.pipeline.chain_run import run_chain
    from runtime.progress import numbered
    from steps.pipeline import PIPELINE

    searched = {**SEARCHED, "taxi": "green", **params}
    linear = {**LINEAR, "taxi": "green", **params}

    def steps(session) -> dict:
        from provenance.pipeline.graph import Graph

        graphs = {"": (Graph(session, searched), ("preprocess", "hpo", "register")),
                  "linear ": (Graph(session, linear), ("preprocess", "train"))}  # fmt: skip
        every = [(prefix + step, step, graph) for prefix, (graph, chain) in graphs.items() for step in chain]
        return {
            name: graph.made_by(step, reuse=params["reuse"])
            for name, step, graph in numbered(every, "course", lambda item: item[0])
        }

    run_chain(PIPELINE, "course", searched, steps, conclude, {"features": "course"}, about=about)


def answers(made: dict) -> dict[str, str]:
    """What this run found, as text to compare with PUBLISHED."""
    return {
        **rows(made["preprocess"]),
        **rows(made["linear preprocess"]),
        "best validation RMSE": f"{made['hpo'].metrics['val_rmse']:.3f}",
        "lowest test RMSE": f"{made['register'].metrics['test_rmse']:.3f}",
        "LinearRegression validation RMSE": f"{made['linear train'].metrics['val_rmse']:.4f}",
    }


def about(session, made: dict) -> tuple[str, str]:
    """The run's page: how many answers came out again, then each of them."""
    reproduced = answers(made)
    equal = sum(reproduced[name] == published for name, published in PUBLISHED.items())
    result = f"**{equal} of {len(PUBLISHED)}** published answers came out again, digit for digit."
    rows = [
        f"| {name} | {published} | {reproduced[name]} | {'' if reproduced[name] == published else '**differs**'} |"
        for name, published in PUBLISHED.items()
    ]
    return result, "\n".join(["| | published | reproduced | |", "| --- | ---: | ---: | --- |", *rows])


def conclude(session, made: dict) -> int:
    """Print published against reproduced; 1 if any differs."""
    reproduced = answers(made)
    echo(f"{'':34}{'published':>10} {'reproduced':>10}")
    for name, published in PUBLISHED.items():
        echo(f"{name:34}{published:>10} {reproduced[name]:>10}{'' if reproduced[name] == published else '  DIFFERS'}")
    if reproduced == PUBLISHED:
        return 0
    echo("The answers differ: compare the months' sha256 in the runs' lineage with the course's files.", err=True)
    return 1


def rows(hit) -> dict[str, str]:
    """Kept rows of each month of a preprocess run."""
    from provenance.record import names
    from provenance.record.artifacts import small_file

    manifest = json.loads(small_file(f"{hit.outputs[names.DATASET].uri}/manifest.json"))
    return {f"rows {month}": f"{counts['kept']:,}" for month, counts in manifest["months"].items()}


if __name__ == "__main__":
    course()
