"""The `plan` command that says what must run anew: with the parameters of the runs behind what is in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from provenance.impact.answer import REPORT, TRIAL, VERSION, Answer, Item
from provenance.impact.graph import Graph
from provenance.impact.recorded import RecordedRun, record_of
from provenance.pipeline.declaration import RUN as OF_THE_RUN
from provenance.pipeline.invocation import invocation
from provenance.record.lineage import normalise

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session

MOST = 3  # commands that are printed
PLAN = "plan"
DEFAULT_EXPERIMENT = "Default"


def plan_commands(
    session: Session, graph: Graph, answers: Iterable[Answer], experiments: Mapping[str, str]
) -> list[str]:
    """One command for each chain behind a version that holds an alias; without one, for the newest result.

    Only runs of the experiments to which the user or the team writes are followed: the parameters of any other run are
    a stranger's. experiments: id -> name.
    """
    defaults, typed = plan_parameters(session.root), invocation()
    found: dict[str, None] = {}
    for run in _behind([item for one in answers for item in one.items], graph, session.own_experiments):
        experiment = experiments.get(run.experiment, DEFAULT_EXPERIMENT)
        given = {
            name: value
            for name, value in sorted(_parameters(graph, run, session.pipeline).items())
            if name in defaults and name not in OF_THE_RUN and normalise(value) != normalise(defaults[name])
        }
        found[typed.command(PLAN, given, "" if experiment == DEFAULT_EXPERIMENT else experiment)] = None
        if len(found) == MOST:
            break
    return list(found)


def plan_parameters(root: Path) -> dict[str, str]:
    """Name -> default, of the parameters of the entry point `plan`."""
    declared = yaml.safe_load((root / "MLproject").read_text(encoding="utf-8"))["entry_points"][PLAN]["parameters"]
    return {name: str(parameter["default"]) for name, parameter in declared.items()}


def _behind(items: list[Item], graph: Graph, own: Iterable[str]) -> list[RecordedRun]:
    """The runs that made what is in use, of the experiments `own`: those of served versions first."""
    made = [item for item in items if item.kind not in (TRIAL, REPORT)]
    in_use = sorted((item for item in made if item.aliases), key=lambda item: not item.served)
    newest = sorted(made, key=lambda item: (item.kind == VERSION, item.when), reverse=True)[:1]
    runs = [graph.runs.get(item.run_id) for item in in_use or newest]
    return [run for run in runs if run and run.experiment in {*own}]


def _parameters(graph: Graph, run: RecordedRun, pipeline: Pipeline) -> dict[str, str]:
    """The parameters of a run, of the runs that made what it read, and of the chain that started it."""
    pending, seen = [run], dict[str, RecordedRun]()
    while pending:
        one = pending.pop()
        if one.run_id not in seen:
            seen[one.run_id] = one
            above = [graph.runs.get(graph.made_by(node)) for node in graph.read_by(one)]
            pending += [made for made in above if made]
    chain = graph.runs.get(run.parent)
    found: dict[str, str] = {}
    steps = [one for one in reversed(seen.values()) if one.step in pipeline.names]
    for one in [*steps, *([chain] if chain and run.run_id in chain.steps else [])]:
        record = record_of(one.run_id)
        found |= {**record.params, **record.placement} if record else one.params
    return found
