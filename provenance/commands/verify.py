"""verify: run `main` with its default parameters, and compare the results with expected.json or with another commit.

The exit code is 1 below `require`. `write=true` writes the results to expected.json instead. `against` names a commit
whose `main` is run, too: then the difference is printed as Markdown, and the exit code is 1 if this checkout's fails.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.options import StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import publish_report, report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reproduce.main_run import MainRun


def verify_command(pipeline: Pipeline) -> click.Command:
    """Make the entry point ``verify``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.

    Returns
    -------
    click.Command
        The command. It exits with 1 below the required grade. It raises ExpectedError if expected.json cannot be read,
        and CodeSourceError if there is no commit `against`.
    """

    @click.command("verify", cls=StepCommand)
    @engine_options("against", "require", "tolerance", "workers", "write", "reuse", "quiet", reuse=False)
    @checked
    def verify(**params: Any) -> None:
        """Prove on this machine that this commit still gives what it gave, or say what it moves against another."""
        if params["against"] == "none":
            run_verify(pipeline, params)
        elif params["write"]:
            raise Refused("write=true makes expected.json, which `against` does not read\n Give one of the two.")
        else:
            run_against(pipeline, params)

    return verify


def run_verify(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Run the pipeline and compare the results, or write them. Exits with 1 below the required grade."""
    from provenance.record import names
    from provenance.record.run_page import run_link
    from provenance.record.validation import code
    from provenance.reproduce import expected
    from provenance.reproduce.main_run import run_main
    from provenance.reproduce.report import markdown, result, table
    from provenance.reproduce.reproduce import ReproductionError, passes
    from provenance.reproduce.verdict import Verdict, judge

    with report_run(pipeline, "verify", params) as session:
        wanted = {} if params["write"] else expected.read(session.root)
        made = run_main(session, session.root, given(params))
        if made.failure:
            raise ReproductionError(f"main failed: {made.failure.error}\n Its own message is above.")
        if params["write"]:
            echo(f"wrote {expected.write(session.root, made.steps.values(), pipeline)}")
            echo(f"run {session.run_id}")
            return
        steps = tuple(judge(wanted[name], made.steps[name], pipeline, params["tolerance"]) for name in wanted)
        verdict = Verdict(steps)
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


def run_against(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Run `main` of another commit and of this checkout, and print what differs. Exits with 1 if this one fails."""
    from provenance.git.other_commit import other_commit
    from provenance.record.run_page import run_link
    from provenance.record.validation import cell
    from provenance.reproduce.moved import markdown, moves, summary

    with (
        report_run(pipeline, "verify", params) as session,
        tempfile.TemporaryDirectory(prefix="against-") as folder,
    ):
        commit, other = other_commit(session.root, params["against"], Path(folder, "code"))
        facts = sides(session, params, commit, other)  # now: the checkout may move on while the steps run
        session.say(f"main of commit {commit}")
        before = captured_main(session, other, params)
        session.say("main of this checkout")
        after = captured_main(session, session.root, params)
        found = moves(before, after, pipeline)
        report = markdown(found, facts, pipeline)
        detail = {"against": commit, "steps": [move.to_dict() for move in found]}
        runs = [(f"{step} {when}", made.run_id) for side, when in ((before, "before"), (after, "after"))
                for step, made in side.steps.items()]  # fmt: skip
        links = [run_link(run_id, name) for name, run_id in runs]
        publish_report(session, report, detail, {}, result=f"**{cell(summary(found, pipeline))}**", links=links)
        for line in report.splitlines():
            echo(line)
    if after.failure:
        sys.exit(1)


def captured_main(session: Session, project: Path, params: dict[str, Any]) -> MainRun:
    """`main` of `project`. What it prints goes to stderr, because stdout is the report; the end explains a failure."""
    from provenance.reproduce.main_run import run_main
    from runtime.last_lines import to_stderr

    with to_stderr(shown=session.progress) as last:
        made = run_main(session, project, given(params), keep=True)
    return replace(made, failure=replace(made.failure, said=tuple(last.lines))) if made.failure else made


def sides(session: Session, params: dict[str, Any], commit: str, other: Path) -> dict[str, str]:
    """The facts of the report: the two sides, and whether both ran in one environment although the locks differ."""
    from provenance.git.source import read
    from provenance.record.environment import LOCK

    here = read(session.root)
    changed = " with uncommitted changes" if here.dirty else ""
    facts = {"before": f"commit {commit} ({params['against']})", "after": f"commit {here.commit}{changed}"}
    facts["this comparison"] = f"run {session.run_id}"
    if session.environment.manager == "local" and (other / LOCK).read_bytes() != (session.root / LOCK).read_bytes():
        facts["environment"] = f"{LOCK} differs, but both sides ran in this one (env-manager local)"
    return facts


def given(params: dict[str, Any]) -> dict[str, str]:
    """The parameters of `main` that are passed on; all others have their defaults."""
    wanted = ("reuse", "workers", "quiet")
    return {name: str(params[name]).lower() for name in wanted}
