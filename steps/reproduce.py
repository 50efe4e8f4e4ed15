"""reproduce: re-execute a recorded run, compare every output and metric, and grade; exit 1 below `require`."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import contextlib
import sys
import tempfile
from pathlib import Path

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.invocation import user_path
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, publish_report, report_run
from steps.options import StepCommand, options

DEPTH = {"step": "step: from the recorded inputs", "all": "all: everything upstream too, from the raw months"}


@click.command(cls=StepCommand)
@options("run_id", "bundle", "depth", "source", "repo", "patch", "env_manager", "workers", "require", "tolerance",
         "quiet", source="recorded")  # fmt: skip
@checked
def reproduce(**params) -> None:
    """Repeat a run from its record and say how much of it came out again. This runs the code of the run's author."""
    from provenance.reproduce.recorded_code import RecordedCode
    from provenance.reproduce.reproduce import passes
    from provenance.reproduce.reproduce import reproduce as repeat

    if (params["run_id"] == "none") == (params["bundle"] == "none"):
        raise Refused("Give the run to reproduce: -P run_id=, or -P bundle=FILE")
    params["run_id"] = params["run_id"].removeprefix("runs:/").strip("/")
    with report_run("reproduce", params) as session, contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproduce-")))
        originals, bundle = read_runs(session, params, stack)
        repo = given_repository(params["repo"])
        code = RecordedCode(session, folder, repo, params["patch"], bundle)
        verdict = repeat(session, originals, code, replay_options(session, params, bundle))
        tell(session, params, verdict, originals)
        if bundle is None:
            link(session, params["run_id"], verdict)
        echo(verdict.line())
        echo(f"run {session.run.info.run_id}")
        passed = passes(verdict, params["require"])
    if not passed:
        sys.exit(1)


def read_runs(session, params: dict, stack: contextlib.ExitStack) -> tuple[list, object | None]:
    """The records to repeat, in order, from the server or from a bundle; and the bundle, open until `stack` closes."""
    from provenance.reproduce import bundle as bundles
    from provenance.reproduce import recorded_run

    if params["bundle"] == "none":
        wanted = recorded_run.step_runs(session, params["run_id"])
        everything = params["depth"] == "all"
        return recorded_run.in_order(wanted, lambda run_id: recorded_run.read(session, run_id), everything), None
    # A bundle has no artifacts to start from: everything is made again from the raw months.
    bundle = stack.enter_context(bundles.open_bundle(user_path(params["bundle"])))
    return recorded_run.in_order(list(bundle.wanted), bundle.original, True), bundle


def replay_options(session, params: dict, bundle=None):
    from provenance.reproduce.reproduce import RECORDED, ReplayOptions
    from steps.raw_months import check_months

    source = params["source"]
    if source == RECORDED and bundle and bundle.months:
        source = str(bundle.months)
    return ReplayOptions(source, params["workers"], params["env_manager"], params["tolerance"],
                own=bundle is None and session.is_own_store, check_inputs=check_months)  # fmt: skip


def tell(session, params: dict, verdict, originals: list) -> None:
    """The table on stdout, the report as artifacts."""
    from provenance.record import names
    from provenance.reproduce.report import markdown
    from provenance.reproduce.reproduce import passes

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
    gone = [line for item in originals for line in item.gone]
    if gone:
        session.say(f"no longer there to be checked: {'; '.join(gone)}")
        facts["no longer there to be checked"] = "; ".join(gone)
    title = f"Reproduction of run {of}"
    plain = {name: params[name] for name in ("depth", "require", "tolerance")}
    detail = {"run": of, "grade": str(verdict.grade), "passed": passed, "gone": gone, **plain,
              "steps": [step.to_dict() for step in verdict.steps]}  # fmt: skip
    tags = {names.REPRODUCTION_OF: of, names.REPRODUCTION_GRADE: str(verdict.grade)}
    publish_report(session, markdown(verdict, title, facts), detail, tags)


def code_of(original) -> str:
    source = original.lineage.source
    return f"commit {source.get('commit') or 'none'}{' and patch.diff' if source.get('dirty') else ''}"


def link(session, run_id: str, verdict) -> None:
    """The verdict on the recorded run's own page, where its readers may write."""
    from mlflow.exceptions import MlflowException

    from provenance.record import names

    mine = session.run.info.run_id
    try:
        session.client.set_tag(run_id, names.REPRODUCED + mine[:8], f"{verdict.grade} by run {mine}")
    except MlflowException as error:
        session.say(f"the verdict is not noted on run {run_id}: {error.message.splitlines()[0]}")


if __name__ == "__main__":
    reproduce()
