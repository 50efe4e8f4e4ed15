"""compare: say why two runs differ, the most likely cause first. prove=true repeats a run with each difference."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.commands.reproduce import replay_options
from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.options import NO_OPTIONS, Decorator, StepCommand, engine_options
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, publish_report, report_run

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session
    from provenance.reproduce.compare import Comparison
    from provenance.reproduce.recorded_run import RecordedRun


def compare_command(pipeline: Pipeline, location: Decorator = NO_OPTIONS) -> click.Command:
    """Make the entry point ``compare``.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    location : Decorator, optional
        The option that says where external inputs are; its default is "recorded".

    Returns
    -------
    click.Command
        The command. It raises Refused, RunError or NotComparable if the runs cannot be compared.
    """

    @click.command("compare", cls=StepCommand)
    @engine_options("a", "b", "prove")
    @location
    @engine_options("repo", "patch", "env_manager", "workers", "quiet")
    @checked
    def compare(**params: Any) -> None:
        """Show only what differs between two runs and all they were made from: causes, metrics, outputs, code."""
        run_compare(pipeline, params)

    return compare


def run_compare(pipeline: Pipeline, params: dict[str, Any]) -> None:
    """Compare two runs, print the differences and publish the report. With `prove`, try each difference."""
    from provenance.git.source import Source, code_diff
    from provenance.pages.compare_page import compared_page, compared_result
    from provenance.record import names
    from provenance.record.run_page import run_link
    from provenance.reproduce.compare import compare
    from provenance.reproduce.recorded_run import chain_of
    from provenance.reproduce.report import comparison_lines, comparison_markdown

    if "none" in (params["a"], params["b"]):
        raise Refused("Give two runs: -P a= -P b=")
    with report_run(pipeline, "compare", params) as session:
        a, b = (chain_of(session, params[side]) for side in ("a", "b"))
        found = compare(a, b, pipeline)
        proved = ablation(session, params, found, a, b) if params["prove"] and found.found else []
        lines = [*comparison_lines(found), *proved]
        for line in lines:
            echo(line)
        before, after = (Source.from_dict(chain[-1].lineage.source) for chain in (a, b))
        diff = code_diff(session.root, before, after, found.modules)
        detail = {
            "a": params["a"],
            "b": params["b"],
            "causes": [item.to_dict() for item in found.found],
            "steps": [pair.to_dict() for pair in found.pairs],
            "proved": proved,
        }
        report = comparison_markdown(params["a"], params["b"], lines, diff)
        tags = {names.COMPARED_A: params["a"], names.COMPARED_B: params["b"]}
        links = [f"a: {run_link(a[-1].run_id)}", f"b: {run_link(b[-1].run_id)}"]
        page = compared_page(found, proved, diff)
        publish_report(session, report, detail, tags, result=compared_result(found), links=links, page=page)
        echo(f"run {session.run_id}")


def ablation(
    session: Session, params: dict[str, Any], found: Comparison, a: list[RecordedRun], b: list[RecordedRun]
) -> list[str]:
    """Try each difference, and return one line for each: its effect on a metric, and its share of the difference."""
    from provenance.reproduce.ablation import factors, prove
    from provenance.reproduce.recorded_code import RecordedCode
    from provenance.reproduce.report import ablation_lines

    wanted, untried = factors(found, b)
    if not wanted:
        return ablation_lines([], untried, found)
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        code = RecordedCode(session, Path(folder), given_repository(params["repo"]), params["patch"])
        outcomes = prove(session, a, b, code, replay_options(session, params), wanted)
    return ablation_lines(outcomes, untried, found)
