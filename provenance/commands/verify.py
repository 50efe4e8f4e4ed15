"""verify: run `main` with its default parameters, without reuse, and compare the results with expected.json.

The exit code is 1 below `require`. `write=true` writes the results to expected.json instead.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.options import StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import publish_report, report_run

if TYPE_CHECKING:
    from mlflow.entities import Run

    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reproduce.verdict import Made


def verify_command(pipeline: Pipeline) -> click.Command:
    """Make the entry point ``verify``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.

    Returns
    -------
    click.Command
        The command. It exits with 1 below the required grade. It raises ExpectedError if expected.json cannot be read.
    """

    @click.command("verify", cls=StepCommand)
    @engine_options("require", "tolerance", "workers", "write", "quiet")
    @checked
    def verify(**params: Any) -> None:
        """Prove on this machine that this commit still gives what it gave: every output and metric, bit for bit."""
        run_verify(pipeline, params)

    return verify


def run_verify(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Run the pipeline and compare the results, or write them. Exits with 1 below the required grade."""
    from provenance.record import names
    from provenance.record.run_page import run_link
    from provenance.record.validation import code
    from provenance.reproduce import expected
    from provenance.reproduce.report import markdown, result, table
    from provenance.reproduce.reproduce import passes
    from provenance.reproduce.verdict import Verdict, judge

    with report_run(pipeline, "verify", params) as session:
        wanted = {} if params["write"] else expected.read(session.root)
        made = run_main(session, params)
        if params["write"]:
            echo(f"wrote {expected.write(session.root, made, pipeline)}")
            echo(f"run {session.run_id}")
            return
        by_step = {step.lineage.step: step for step in made}
        verdict = Verdict(tuple(judge(wanted[name], by_step[name], pipeline, params["tolerance"]) for name in wanted))
        for step in verdict.steps:
            echo(f"{step.step:<10}  {step.grade:<9}  by run {step.repeated}")
            for cause in step.explanations:
                echo(f"            - {cause}")
        facts = {"required": params["require"], "tolerance": f"{params['tolerance']:g} (relative)"}
        detail = {"grade": str(verdict.grade), **facts, "steps": [step.to_dict() for step in verdict.steps]}
        report = markdown(verdict, "Verification of this commit", facts)
        tags = {names.REPRODUCTION_GRADE: str(verdict.grade)}
        links = [run_link(step.repeated, step.step) for step in verdict.steps if step.repeated]
        page = table(verdict, facts, code, run_link)
        publish_report(session, report, detail, tags, result=result(verdict), links=links, page=page)
        echo(verdict.line())
        echo(f"run {session.run_id}")
        passed = passes(verdict, params["require"])
    if not passed:
        sys.exit(1)


def run_main(session: Session, params: dict[str, Any]) -> list[Made]:
    """Run `main` of this checkout, in this run's environment and with a temporary registry. Returns its steps' results.

    Raises ReproductionError if it fails.
    """
    from provenance.record import names
    from provenance.reproduce import recorded_run, replay
    from provenance.reproduce.reproduce import ReproductionError
    from provenance.reproduce.verdict import Made
    from provenance.reuse.revoke import revoke

    given = {"reuse": "false", "workers": str(params["workers"]), "quiet": str(params["quiet"]).lower()}
    manager = session.open_run.data.tags.get(names.PROJECT_ENV, "local")
    with tempfile.TemporaryDirectory(prefix="registry-") as folder, replay.scratch_registry(Path(folder)):
        repeated = replay.launch(session, session.root, session.pipeline.chains[0], given, manager)
    if repeated.made is None or repeated.run_id is None:
        raise ReproductionError(f"main failed: {repeated.error}\n Its own message is above.")
    try:
        hits = [session.hit(run_id) for run_id in recorded_run.step_runs(session, repeated.run_id)]
        order = session.pipeline.names
        return sorted(
            (Made(hit.run_id, hit.lineage, hit.metrics) for hit in hits),
            key=lambda made: order.index(made.lineage.step),
        )
    finally:
        for run in [session.client.get_run(repeated.run_id), *steps_below(session, repeated.run_id)]:
            revoke(session.client, run.info.run_id, session.project)


def steps_below(session: Session, run_id: str) -> list[Run]:
    """The runs of steps that were started under run `run_id`."""
    from provenance.pipeline.launch import children

    return children(session.client, session.client.get_run(run_id), session.project)
