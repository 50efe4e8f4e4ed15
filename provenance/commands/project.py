"""All entry points of a project as one program: `python -m steps.main ENTRY_POINT --name value ...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from provenance.commands.bundle import bundle_command
from provenance.commands.compare import compare_command
from provenance.commands.gc import gc_command
from provenance.commands.impact import impact_command
from provenance.commands.plan import plan_command
from provenance.commands.reproduce import reproduce_command
from provenance.commands.rollback import rollback_command
from provenance.commands.verify import verify_command
from provenance.pipeline.cli import checked
from provenance.pipeline.declaration import RUN
from provenance.pipeline.external_file import ExternalFile
from provenance.pipeline.options import NO_OPTIONS, OPTIONS, ArtifactType, Decorator, StepCommand, chosen, option
from provenance.pipeline.output import echo
from provenance.pipeline.step_run import StepRun, run_step

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline, Step
    from provenance.pipeline.session import Session
    from provenance.reuse.cache import Hit


def project_commands(
    pipeline: Pipeline, work: Sequence[Callable[[StepRun], object]], own: Mapping[str, Decorator]
) -> click.Group:
    """The program. `work` are the steps' functions, in their order; `own` are parameters that the project alone has."""
    options = chosen({**OPTIONS, **_locations(pipeline), **own})
    chain = options(*pipeline.parameters_of(*pipeline.steps))
    group = click.Group("project", help="The project's entry points.")
    for step, function in zip(pipeline.steps, work, strict=True):
        group.add_command(_step_command(pipeline, step, function, options))
    where = options(pipeline.location, **{pipeline.location: "recorded"}) if pipeline.location else NO_OPTIONS
    for command in (
        _chain_command(pipeline, chain, options(*RUN)),
        plan_command(pipeline, chain),
        reproduce_command(pipeline, where),
        compare_command(pipeline, where),
        bundle_command(pipeline, where),
        verify_command(pipeline),
        impact_command(pipeline),
        gc_command(pipeline),
        rollback_command(pipeline),
    ):
        group.add_command(command)
    return group


def _locations(pipeline: Pipeline) -> dict[str, Decorator]:
    """The parameters that say where external files lie, by default the first that a package brings."""
    found: dict[str, Decorator] = {}
    for external in (step.external for step in pipeline.steps):
        if isinstance(external, ExternalFile):
            words = [*external.brought]
            text = f"Where the {external.noun} is: {', or '.join([*words, 'a file'])}."
            default = words[0] if words else "none"
            found[external.location] = option(external.location, default, ArtifactType(*words, "recorded"), text)
    return found


def _step_command(pipeline: Pipeline, step: Step, work: Callable[[StepRun], object],
                  options: Callable[..., Decorator]) -> click.Command:  # fmt: skip
    @click.command(step.name, cls=StepCommand, help=(work.__doc__ or "").partition("\n")[0])
    @options(*(need.param for need in step.needs), *pipeline.parameters_of(step), *RUN)
    @checked
    def run(**params: Any) -> None:
        run_step(pipeline, step, params, work, report)

    return run


def _chain_command(pipeline: Pipeline, chain: Decorator, common: Decorator) -> click.Command:
    @click.command(pipeline.chains[0], cls=StepCommand)
    @chain
    @common
    @checked
    def main(**params: Any) -> None:
        """Run all steps in their order; finished ones with the same key are reused."""
        run_all(pipeline, params)

    return main


def run_all(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """The chain as one run, and what its last step reports."""
    from provenance.pipeline.chain_run import run_chain
    from provenance.pipeline.graph import Graph

    def steps(session: Session) -> dict[str, Hit]:
        return Graph(session, params).make(pipeline.names, pipeline.chains[0], reuse=params["reuse"])

    def conclude(session: Session, made: dict[str, Hit]) -> int:
        for line in report(session, made[pipeline.names[-1]]):
            echo(line)
        return 0

    run_chain(pipeline, pipeline.chains[0], params, steps, conclude, {})


def report(session: Session, hit: Hit) -> list[str]:
    """The headline metrics that a step has, and where its outputs lie."""
    scores = [
        f"{metric.name} {hit.metrics[metric.name]:.4f} {metric.unit}".rstrip()
        for metric in session.pipeline.headline
        if metric.name in hit.metrics
    ]
    return [*(["  ".join(scores)] if scores else []), *(f"{name} {item.uri}" for name, item in hit.outputs.items())]
