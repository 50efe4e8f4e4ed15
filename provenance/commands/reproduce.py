"""reproduce: repeat a recorded run, compare each output and metric, and give a grade. Exit code 1 below `require`."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.invocation import user_path
from provenance.pipeline.options import NO_OPTIONS, Decorator, StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, publish_report, report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reproduce.bundle import Bundle
    from provenance.reproduce.recorded_run import RecordedRun
    from provenance.reproduce.reproduce import ReplayOptions
    from provenance.reproduce.verdict import Verdict

DEPTH = {"step": "step: from the recorded inputs", "all": "all: everything upstream too, from what no step made"}


def reproduce_command(pipeline: Pipeline, location: Decorator = NO_OPTIONS) -> click.Command:
    """Make the entry point ``reproduce``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    location : Decorator, optional
        The option that says where external inputs are; its default is "recorded".

    Returns
    -------
    click.Command
        The command. It exits with 1 below the required grade. It raises Refused, RunError, CodeRefused,
        ReproductionError or BundleError if the run cannot be repeated.
    """

    @click.command("reproduce", cls=StepCommand)
    @engine_options("run_id", "bundle", "depth")
    @location
    @engine_options("repo", "patch", "env_manager", "workers", "require", "tolerance", "trust", "quiet")
    @checked
    def reproduce(**params: Any) -> None:
        """Repeat a run from its record and say how much came out again. This runs the code of the run's author."""
        run_reproduce(pipeline, params)

    return reproduce


def run_reproduce(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Repeat the run, judge it and publish the report. Exits with 1 below the required grade."""
    from provenance.reproduce.recorded_code import RecordedCode
    from provenance.reproduce.reproduce import passes
    from provenance.reproduce.reproduce import reproduce as repeat
    from provenance.reproduce.signers import require_signed

    if (params["run_id"] == "none") == (params["bundle"] == "none"):
        raise Refused("Give the run to reproduce: -P run_id=, or -P bundle=FILE")
    params["run_id"] = params["run_id"].removeprefix("runs:/").strip("/")
    with report_run(pipeline, "reproduce", params) as session, contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproduce-")))
        originals, bundle = read_runs(session, params, stack)
        require_signed(session, originals, in_store=bundle is None)
        repo = given_repository(params["repo"])
        code = RecordedCode(session, folder, repo, params["patch"], bundle)
        verdict = repeat(session, originals, code, replay_options(session, params, bundle))
        tell(session, params, verdict, originals)
        if bundle is None:
            link(session, params["run_id"], verdict)
        echo(verdict.line())
        echo(f"run {session.run_id}")
        passed = passes(verdict, params["require"])
    if not passed:
        sys.exit(1)


def read_runs(
    session: Session, params: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[list[RecordedRun], Bundle | None]:
    """The records to repeat, in order, and the bundle that holds them, if any. It stays open until `stack` closes."""
    from provenance.reproduce import bundle as bundles
    from provenance.reproduce import recorded_run

    if params["bundle"] == "none":
        return recorded_run.chain_of(session, params["run_id"], everything=params["depth"] == "all"), None
    # A bundle contains no outputs of steps, so all steps are repeated.
    bundle = stack.enter_context(bundles.open_bundle(user_path(params["bundle"]), session.pipeline))
    return recorded_run.in_order(list(bundle.wanted), bundle.original, True), bundle


def replay_options(session: Session, params: dict[str, Any], bundle: Bundle | None = None) -> ReplayOptions:
    """The options of a repetition, from the parameters of the entry point."""
    from provenance.reproduce.reproduce import RECORDED, ReplayOptions

    location = params.get(session.pipeline.location, RECORDED)
    if location == RECORDED and bundle and bundle.external:
        location = str(bundle.external)
    return ReplayOptions(
        location,
        params["workers"],
        params["env_manager"],
        params.get("tolerance", 0.0),
        own=bundle is None and session.is_own_store,
    )


def tell(session: Session, params: dict[str, Any], verdict: Verdict, originals: list[RecordedRun]) -> None:
    """Print the verdict and publish the report."""
    from provenance.record import names
    from provenance.record.run_page import run_link
    from provenance.record.validation import code
    from provenance.reproduce.report import markdown, result, table
    from provenance.reproduce.reproduce import passes
    from provenance.reproduce.signers import signers

    for step in verdict.steps:
        echo(f"{step.step:<10}  {step.grade:<9}  of run {step.original}  by run {step.repeated or 'none'}")
        for cause in step.explanations:
            echo(f"            - {cause}")
    of = params["run_id"] if params["bundle"] == "none" else originals[-1].run_id
    passed = passes(verdict, params["require"])
    facts = {"of run": of, "required": f"{params['require']}: {'passes' if passed else 'does not pass'}",
             "depth": DEPTH[params["depth"]],
             "code": ", ".join(dict.fromkeys(code_of(item) for item in originals)),
             "tolerance": f"{params['tolerance']:g} (relative)"}  # fmt: skip
    gone = [str(problem) for item in originals for problem in item.gone]
    if gone:
        session.say(f"no longer there to be checked: {'; '.join(gone)}")
        facts["no longer there to be checked"] = "; ".join(gone)
    if signed := signers(session, originals):
        for item in originals:
            echo(f"{item.lineage.step:<10}  {signed[item.run_id]}")
        facts["signed"] = "; ".join(f"{item.lineage.step} {signed[item.run_id]}" for item in originals)
    title = f"Reproduction of run {of}"
    plain = {name: params[name] for name in ("depth", "require", "tolerance")}
    detail = {"run": of, "grade": str(verdict.grade), "passed": passed, "gone": gone, **plain,
              **({"signatures": signed} if signed else {}),
              "steps": [step.to_dict() for step in verdict.steps]}  # fmt: skip
    tags = {names.REPRODUCTION_OF: of, names.REPRODUCTION_GRADE: str(verdict.grade)}
    here = run_link if params["bundle"] == "none" else code  # a run of a bundle is not in this store
    links = [f"of {here(of)}", *(run_link(step.repeated, step.step) for step in verdict.steps if step.repeated)]
    report, page = markdown(verdict, title, facts), table(verdict, facts, here, run_link)
    publish_report(session, report, detail, tags, result=result(verdict), links=links, page=page)


def code_of(original: RecordedRun) -> str:
    """The code of a recorded run, as text for the report: its commit, and whether it has a patch."""
    source = original.lineage.source
    return f"commit {source.get('commit') or 'none'}{' and patch.diff' if source.get('dirty') else ''}"


def link(session: Session, run_id: str, verdict: Verdict) -> None:
    """Write the verdict to a tag of the recorded run, if the user may do so."""
    from mlflow.exceptions import MlflowException

    from provenance.record import names

    mine = session.run_id
    try:
        session.client.set_tag(run_id, names.REPRODUCED + mine[:8], f"{verdict.grade} by run {mine}")
    except MlflowException as error:
        session.say(f"the verdict is not noted on run {run_id}: {error.message.splitlines()[0]}")
