"""compare: why two runs differ, the likeliest cause first; prove=true runs one with each difference in turn."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import tempfile
from pathlib import Path

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import given_repository, publish_report, report_run
from steps.options import StepCommand, options
from steps.pipeline import PIPELINE

DIFF_LINES = 200  # of the code, in the report


@click.command(cls=StepCommand)
@options("a", "b", "prove", "source", "repo", "patch", "env_manager", "workers", "quiet", source="recorded")
@checked
def compare(**params) -> None:
    """Show only what differs between two runs and everything they were made from: causes, metrics, outputs, code."""
    from provenance.record import names
    from provenance.reproduce import compare, recorded_run

    if "none" in (params["a"], params["b"]):
        raise Refused("Give two runs: -P a= -P b=")
    with report_run(PIPELINE, "compare", params) as session:
        chains = {
            side: recorded_run.in_order(
                recorded_run.step_runs(session, params[side]), lambda run_id: recorded_run.read(session, run_id), True
            )
            for side in ("a", "b")
        }
        found = compare.compare(chains["a"], chains["b"])
        lines = told(found)
        outcomes = proved(session, params, found, chains) if params["prove"] and found.found else []
        for line in [*lines, *outcomes]:
            echo(line)
        report = markdown(params, [*lines, *outcomes], difference(session, chains, found.modules))
        detail = {
            "a": params["a"],
            "b": params["b"],
            "causes": [
                {"kind": item.difference.kind, "text": item.difference.text, "steps": item.steps}
                for item in found.found
            ],
            "steps": [pair.to_dict() for pair in found.pairs],
            "proved": outcomes,
        }
        publish_report(session, report, detail, {names.COMPARED_A: params["a"], names.COMPARED_B: params["b"]})
        echo(f"run {session.run.info.run_id}")


def told(found) -> list[str]:
    """The comparison as lines: causes ranked, then what they did."""
    if not found.found and not found.metrics and not found.outputs:
        return ["no difference in code, parameters, inputs, environment, machine, metrics and outputs"]
    from provenance.reproduce.verdict import NO_CAUSE

    lines = [f"{number}. {item}" for number, item in enumerate(found.found, 1)] or [NO_CAUSE]
    lines += [f"metric {step}.{name}  {before} -> {after}{moved(before, after)}" for step, name, before, after
              in found.metrics]  # fmt: skip
    lines += [f"output {step}.{name}  {short(before)} -> {short(after)}" for step, name, before, after in found.outputs]
    return lines


def moved(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"  ({after - before:+.6g})"


def short(digest: str | None) -> str:
    return digest[:12] if digest else "absent"


def proved(session, params: dict, found, chains: dict) -> list[str]:
    """For each factor the metric that it moves, and how much of the whole distance that is."""
    from provenance.reproduce.ablation import factors, prove
    from provenance.reproduce.recorded_code import RecordedCode
    from provenance.reproduce.reproduce import ReplayOptions

    wanted, untried = factors(found, chains["b"])
    lines = [f"not tried here: {item}" for item in untried]
    if not wanted:
        return lines
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        repo = given_repository(params["repo"])
        code = RecordedCode(session, Path(folder), repo, params["patch"])
        replay = ReplayOptions(
            params["source"],
            params["workers"],
            params["env_manager"],
            own=session.is_own_store,
        )
        for outcome in prove(session, chains["a"], chains["b"], code, replay, wanted):
            lines.append(f"a with {outcome.factor.name}: {effect(outcome.verdict, found)}")
    return lines


def effect(verdict, found) -> str:
    """What one factor did to the most telling metric that differs between a and b."""
    broken = next((step for step in verdict.steps if step.error), None)
    if broken:
        return f"{broken.step} failed: {broken.error}"
    rows = found.metrics or [(step.step, *row) for step in reversed(verdict.steps) for row in step.metrics][:1]
    for step_name, name, in_a, in_b in rows:
        now = next((row[2] for step in verdict.steps if step.step == step_name for row in step.metrics
                    if row[0] == name), None)  # fmt: skip
        if now is None or in_a is None or in_b is None:
            continue
        if now == in_a:
            return f"{step_name}.{name} {now!r}, unchanged"
        whole = in_b - in_a
        share = f" ({(now - in_a) / whole:.0%} of the difference)" if whole else ""
        return f"{step_name}.{name} {in_a!r} -> {now!r}, moved by {now - in_a:+.6g}{share}"
    return f"grade {verdict.grade}"


def difference(session, chains: dict, modules: list[str]) -> str:
    """The code's difference as git shows it, when this checkout has both commits; "" otherwise."""
    from provenance.git.command import CodeSourceError, git
    from provenance.git.source import Source, check_commit

    a, b = (Source.from_dict(chains[side][-1].lineage.source) for side in ("a", "b"))
    if not modules or not a.commit or not b.commit:
        return ""
    try:
        commits = [check_commit(a.commit), check_commit(b.commit)]
        text = git("diff", "--no-ext-diff", "--no-textconv", "--relative", *commits, "--", *modules, cwd=session.root)
    except CodeSourceError:
        return ""
    return "\n".join(text.decode("utf-8", "replace").splitlines()[:DIFF_LINES])


def markdown(params: dict, lines: list[str], diff: str) -> str:
    from provenance.record.validation import cell

    text = [f"# Runs {cell(params['a'])} and {cell(params['b'])}", "", *(f"- {cell(line)}" for line in lines)]
    if diff:
        text += ["", "## Code", "", "````diff", diff.replace("````", "` ` ` `"), "````"]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    compare()
