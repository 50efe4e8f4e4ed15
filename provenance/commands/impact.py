"""impact: what came of a file, a run, a model, a commit or a package, of all experiments, and what of it is served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.options import StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import publish_report, report_run

NOTE_ROWS = 20  # rows of each table in the run's description, of which MLflow keeps 8,000 characters

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.impact.answer import Answer
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session


def impact_command(pipeline: Pipeline) -> click.Command:
    """Make the entry point ``impact``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.

    Returns
    -------
    click.Command
        The command. It raises Refused or ImpactError if `of` names nothing, or more than one thing.
    """

    @click.command("impact", cls=StepCommand)
    @engine_options("of", "out", "json", "quiet")
    @checked
    def impact(**params: Any) -> None:
        """Say which datasets, models, versions and predictions came of a file, run, model, commit or package."""
        say_impact(pipeline, params)

    return impact


def say_impact(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Print the answer, write the page to ``out``, and publish both as artifacts of the run."""
    from provenance.impact.made_anew import plan_commands
    from provenance.impact.report import lines, markdown, result
    from provenance.pages.impact_page import impact_page
    from provenance.record import names
    from provenance.record.validation import code

    if params["of"] == "none":
        raise Refused("Give what to ask about: -P of=<file, digest, run id, models:/name/version, commit or package>")
    out = _writable(params["out"])
    with report_run(pipeline, "impact", params) as session:
        experiments = _experiments(session)
        graph, answers = answered(session, params["of"], experiments)
        plan = plan_commands(session, graph, answers, experiments)
        facts = {
            "of": params["of"],
            "subjects": [one.to_dict() for one in answers],
            "plan": plan,
            "run_id": session.run_id,
        }
        page = impact_page(params["of"], answers, plan)
        session.client.log_text(session.run_id, page, names.IMPACT_PAGE)
        publish_report(session, markdown(answers, plan), facts, {names.IMPACT_OF: params["of"]}, file=names.IMPACT_FILE,
                       result=f"Of {code(params['of'])}: {result(answers)}",
                       page=markdown(answers, plan, NOTE_ROWS))  # fmt: skip
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(page, encoding="utf-8")
        if params["json"]:
            for line in json.dumps(facts, indent=1).splitlines():
                echo(line)
            return
        for line in lines(answers):
            echo(line)
        echo(f"page {out or f'runs:/{session.run_id}/{names.IMPACT_PAGE}'}")
        echo(f"run {session.run_id}")
        for number, command in enumerate(plan):
            echo(f"{'what must be made anew:' if number == 0 else '                   and:'} {command}")


def answered(session: Session, of: str, experiments: dict[str, str]) -> tuple[Any, list[Answer]]:
    """The graph, and what came of each thing that `of` names. experiments: id -> name."""
    from provenance.impact.answer import answer
    from provenance.impact.graph import Graph
    from provenance.impact.recorded import read_runs
    from provenance.impact.subject import subjects
    from provenance.impact.versions import read_versions
    from provenance.pipeline.invocation import user_path

    graph = Graph(read_runs(session), read_versions(session.client))
    pipeline = session.pipeline
    return graph, [answer(graph, pipeline, one, experiments) for one in subjects(graph, pipeline, of, user_path)]


def _experiments(session: Session) -> dict[str, str]:
    from provenance.store.paging import every

    return {one.experiment_id: one.name for one in every(session.client.search_experiments)}


def _writable(out: str) -> Path | None:
    """The path of the page to write; None if none is wanted. Raises Refused."""
    from provenance.pipeline.invocation import user_path

    if out == "none":
        return None
    path = user_path(out)
    if ":/" in out or path.is_dir() or out.endswith("/"):
        raise Refused(f"out={out:.200} is no file of this machine\n Give a path: -P out=impact.html")
    return path
