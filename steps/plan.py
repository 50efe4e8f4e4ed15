"""plan: which steps `main` would reuse and which it would run, and why; runs nothing, leaves no run."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import json

import click

from provenance.pipeline.cli import checked, open_session
from provenance.pipeline.launched_run import launched
from provenance.pipeline.output import echo
from steps.forget import delete_once_launched
from steps.options import DATA, RUN, TRIALS, StepCommand, options


class NotYet(Exception):
    """A step's input does not exist yet: the step before will make it."""


@click.command(cls=StepCommand)
@options(*DATA, "model", "params", *TRIALS, "select", "refit", "model_name", *RUN, "draw", "json")
@checked
def plan(**params) -> None:
    """Say for each step of `main` whether a finished run stands for it, and if not, what changed."""
    from steps.train import params_text

    params["params"] = params_text(params["params"])
    run = launched("plan")  # `mlflow run` makes one for every entry point
    session = open_session(params, run)
    try:
        rows = planned(session, params)
    finally:
        if run:
            delete_once_launched(session.client, run.info.run_id, session.project)
    if params["json"]:
        click.echo(json.dumps(rows, indent=1))
    elif params["draw"]:
        for line in drawing(rows):
            echo(line)
    else:
        for row in rows:
            made = f"reuse run {row['run_id']} ({row['when']}, {row['user']})" if row["reuse"] else "run"
            echo(f"{row['step']:12}{made}")
            for reason in row["why"]:
                echo(f"{'':12}- {reason}")


def planned(session, params: dict) -> list[dict]:
    """One row per step of the chain: step, reuse, run_id, when, user, why."""
    from provenance.reuse.cache import Hit
    from steps.pipeline import CHAIN, STEPS, TripGraph

    graph = TripGraph(session, params)
    hits: dict[str, Hit] = {}

    def made_by(name: str) -> Hit:
        if name not in hits:
            raise NotYet(name)
        return hits[name]

    rows = []
    for name in CHAIN:
        row = {"step": name, "reuse": False, "run_id": None, "when": None, "user": None, "why": []}
        rows.append(row)
        try:
            lineage = graph.lineage(STEPS[name], made_by)
        except NotYet as upstream:
            row["why"] = [f"{upstream} runs first, and what it makes decides"]
            continue
        if not params["reuse"]:
            row["why"] = ["reuse=false"]
            continue
        found = graph.found(STEPS[name], lineage)
        if isinstance(found, Hit):
            hits[name] = found
            row |= {"reuse": True, "run_id": found.run_id, "when": session.when(found), "user": found.user}
        else:
            row["why"] = list(found.reasons) or reasons(session, lineage)
    return rows


def reasons(session, lineage) -> list[str]:
    """What changed against the nearest earlier run of the step."""
    from provenance.reuse import cache

    nearest = cache.nearest(session.client, session.trusted_experiments, lineage)
    if nearest is None:
        return ["no finished run of this step yet"]
    return cache.changes(nearest, lineage) or ["the nearest run's record is the same: its outputs were deleted"]


def drawing(rows: list[dict]) -> list[str]:
    """The chain as a Mermaid graph: reused steps green, steps to run orange."""
    from provenance.record.validation import cell

    lines = ["graph LR"]
    for row in rows:
        text = (
            f"reuse {row['run_id'][:8]}"
            if row["reuse"]
            else "run: " + cell("; ".join(row["why"])[:80]).replace('"', "'")
        )
        lines.append(f'  {row["step"]}["{row["step"]}<br/>{text}"]:::{"reuse" if row["reuse"] else "run"}')
    lines += ["  preprocess --> train", "  preprocess --> hpo", "  hpo --> register"]
    lines += ["  classDef reuse fill:#d5f0d5,stroke:#2a7a2a", "  classDef run fill:#fde3c4,stroke:#b36200"]
    return lines


if __name__ == "__main__":
    plan()
