"""plan: say which steps `main` would reuse and which it would run, and why. It runs no step and leaves no run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

import click

from provenance.pipeline.cli import checked, open_session
from provenance.pipeline.forget import delete_once_launched
from provenance.pipeline.launched_run import launched
from provenance.pipeline.options import NO_OPTIONS, Decorator, StepCommand, engine_options
from provenance.pipeline.output import echo

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Parameters, Pipeline
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Lineage
    from provenance.reuse.cache import Hit


class Planned(TypedDict):
    """What a step would do, and why. `run_id`, `when` (its end) and `user` describe the run that it would reuse."""

    step: str
    reuse: bool
    run_id: str | None
    when: str | None
    user: str | None
    why: list[str]


class NotYet(Exception):
    """An input of a step does not exist yet, because an earlier step must run first."""


def plan_command(
    pipeline: Pipeline,
    parameters: Decorator = NO_OPTIONS,
    prepare: Callable[[dict[str, object]], Parameters] = lambda params: params,
) -> click.Command:
    """Make the entry point ``plan``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    parameters : Decorator, optional
        The options of `main`.
    prepare : callable, optional
        ``prepare(params)`` returns the parameters of the steps, as `main` derives them from its own.

    Returns
    -------
    click.Command
        The command.
    """

    @click.command("plan", cls=StepCommand)
    @parameters
    @engine_options("trust", "reuse", "quiet", "draw", "json")
    @checked
    def plan(**params: object) -> None:
        """Say for each step of `main` whether a finished run stands for it, and if not, what changed."""
        say_plan(pipeline, prepare(params))

    return plan


def say_plan(pipeline: Pipeline, params: Parameters) -> None:
    """Print what `main` with these parameters would do."""
    run = launched("plan")  # `mlflow run` makes a run for each entry point
    session = open_session(pipeline, params, run)
    try:
        rows = planned(session, params)
    finally:
        if run:
            delete_once_launched(session.client, run.info.run_id, session.project)
    if params["json"]:
        click.echo(json.dumps(rows, indent=1))
    elif params["draw"]:
        for line in drawing(pipeline, rows):
            echo(line)
    else:
        for row in rows:
            made = f"reuse run {row['run_id']} ({row['when']}, {row['user']})" if row["reuse"] else "run"
            echo(f"{row['step']:12}{made}")
            for reason in row["why"]:
                echo(f"{'':12}- {reason}")


def planned(session: Session, params: Parameters) -> list[Planned]:
    """One row for each step of the pipeline, in order."""
    from provenance.pipeline.graph import Graph
    from provenance.reuse.cache import Hit

    graph = Graph(session, params)
    hits: dict[str, Hit] = {}

    def made_by(name: str) -> Hit:
        if name not in hits:
            raise NotYet(name)
        return hits[name]

    rows: list[Planned] = []
    for step in session.pipeline.steps:
        name = step.name
        row: Planned = {"step": name, "reuse": False, "run_id": None, "when": None, "user": None, "why": []}
        rows.append(row)
        try:
            lineage = graph.lineage(step, made_by)
        except NotYet as upstream:
            row["why"] = [f"{upstream} runs first, and its output decides"]
            continue
        if not params["reuse"]:
            row["why"] = ["reuse=false"]
            continue
        found = graph.found(step, lineage)
        if isinstance(found, Hit):
            hits[name] = found
            row |= {"reuse": True, "run_id": found.run_id, "when": session.when(found), "user": found.user}
        else:
            row["why"] = [str(reason) for reason in found.reasons] or reasons(session, lineage)
    return rows


def reasons(session: Session, lineage: Lineage) -> list[str]:
    """The changes since the most similar earlier run of the step."""
    from provenance.reuse import cache

    nearest = cache.nearest(session.client, session.trusted_experiments, lineage)
    if nearest is None:
        return ["no finished run of this step yet"]
    changed = [difference.reason for difference in cache.changes(nearest, lineage)]
    return changed or ["the nearest run's record is the same: its outputs were deleted"]


def drawing(pipeline: Pipeline, rows: list[Planned]) -> list[str]:
    """The pipeline as a Mermaid graph: reused steps green, steps to run orange."""
    from provenance.record.validation import cell

    lines = ["graph LR"]
    for row in rows:
        text = (
            f"reuse {row['run_id'][:8]}"
            if row["reuse"] and row["run_id"]
            else "run: " + cell("; ".join(row["why"])[:80]).replace('"', "'")
        )
        lines.append(f'  {row["step"]}["{row["step"]}<br/>{text}"]:::{"reuse" if row["reuse"] else "run"}')
    lines += [f"  {need.step} --> {step.name}" for step in pipeline.steps for need in step.needs]
    lines += ["  classDef reuse fill:#d5f0d5,stroke:#2a7a2a", "  classDef run fill:#fde3c4,stroke:#b36200"]
    return lines
