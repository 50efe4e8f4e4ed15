"""One step as a run: its lineage, reuse of a finished run, its work, its outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.pipeline.cli import open_session
from provenance.pipeline.output import echo

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from provenance.pipeline.declaration import Parameters, Pipeline, Step
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Input, Lineage, Output
    from provenance.reuse.cache import Hit


@dataclass
class StepRun:
    """An open step: what its work may use, and where it puts what it leaves behind."""

    session: Session
    params: Parameters
    lineage: Lineage
    folders: contextlib.ExitStack
    outputs: list[Output] = field(default_factory=list)
    note: str = ""

    def folder(self, item: Input | Output) -> Path:
        """The recorded input or output `item`, checked, on this machine until the step ends. Raises ArtifactError."""
        from provenance.record.artifacts import open_verified

        return self.folders.enter_context(open_verified(item))

    @property
    def client(self) -> MlflowClient:
        return self.session.client

    @property
    def run_id(self) -> str:
        return self.session.run_id

    def say(self, line: str) -> None:
        self.session.say(line)

    def explain(self, note: str) -> None:
        """Markdown for the top of the run's page, from now on."""
        from provenance.record.writer import record_note

        self.note = note
        record_note(self.session, self.lineage, note=note)

    def keep(self, output: Output) -> None:
        """Record an output; all of them become usable together when the step ends."""
        self.outputs.append(output)

    def input(self, role: str) -> Input:
        """What the step reads by that name. Raises StopIteration where it is none of its inputs."""
        return next(item for item in self.lineage.inputs if item.role == role)


def run_step(
    pipeline: Pipeline,
    step: Step,
    params: Parameters,
    work: Callable[[StepRun], object],
    report: Callable[[Session, Hit], list[str]],
    tags: Mapping[str, str] | None = None,
    about: Callable[[Session, Hit], Sequence[str]] = lambda session, hit: (),
) -> None:
    """Run `work(step_run)` as one run of `step`, or link the run to a finished one with the same key.

    `report(session, hit)` gives the lines printed at the end, `about(session, hit)` the paragraphs of the run's page,
    the result first; the same for both.
    """
    from provenance.pipeline.graph import Graph
    from provenance.pipeline.launched_run import own_run
    from provenance.record import names
    from provenance.record.writer import named, record_finish, record_start, set_tags, upload_patch
    from provenance.reuse import heartbeat, single_flight
    from provenance.reuse.cache import Hit

    with own_run(step.name) as run:
        session = open_session(pipeline, params, run)
        client, run_id = session.client, run.info.run_id
        with heartbeat.Heartbeat(client, run_id, session.project) as beating:
            chain = run.data.tags.get(names.PARENT, run_id)
            set_tags(client, run_id, beating.tags() | named(run, step.name) | {names.CHAIN: chain, **(tags or {})})
            heartbeat.mark_dead_runs(client, session.experiments, session.project)
            graph = Graph(session, params)
            record_start(session, graph.bare(step))  # before anything can fail
            lineage = graph.lineage(step, graph.made_by)
            record_start(session, lineage)
            found = None
            if params["reuse"]:
                single_flight.wait_for_turn(
                    client, session.trusted_experiments, run_id, lineage.key, session.say, session.project
                )
                found = graph.found(step, lineage)
            session.code_unchanged(lineage)  # since it was digested, and as it was imported
            if isinstance(found, Hit):
                link_reused(session, lineage, found, about(session, found))
            else:
                for reason in found.reasons if found else ():
                    session.say(f"cannot reuse: {reason}")
                upload_patch(session, lineage)
                with contextlib.ExitStack() as folders:
                    open_step = StepRun(session, params, lineage, folders)
                    work(open_step)
                session.code_unchanged(lineage)
                session.environment_unchanged()
                finished = replace(open_step.lineage, outputs=tuple(open_step.outputs))
                found = Hit(run_id, "", 0, finished, dict(client.get_run(run_id).data.metrics))
                record_finish(session, finished, about=about(session, found), note=open_step.note)
        for line in report(session, found):
            echo(line)
        echo(f"run {run_id}")


def link_reused(session: Session, lineage: Lineage, found: Hit, about: Sequence[str] = ()) -> None:
    """Let the run of `session` stand for the finished run `found`: its metrics and outputs by reference, no data.

    `about` is for its page.
    """
    from mlflow.entities import Metric

    from provenance.record import names
    from provenance.record.dataset_inputs import same_inputs
    from provenance.record.writer import record_finish, set_tags

    session.say(f"reused run {found.run_id} (by {found.user}, {session.when(found)})")
    run_id = session.run_id
    ends = {name: value for name, value in found.metrics.items() if not name.startswith(names.CURVES)}
    metrics = [Metric(name, value, found.end_time, 0) for name, value in ends.items()]
    session.client.log_batch(run_id, metrics=metrics)
    same_inputs(session.client, run_id, found.run_id)
    set_tags(session.client, run_id, {names.REUSED: found.run_id})
    record_finish(session, replace(lineage, outputs=found.lineage.outputs), reused=found.run_id, about=about)
