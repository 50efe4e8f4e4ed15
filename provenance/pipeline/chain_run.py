"""A run that is a chain of steps: nothing of its own but the order, the links and the closing words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.pipeline.cli import open_session
from provenance.pipeline.launched_run import own_run
from provenance.pipeline.output import echo

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Parameters, Pipeline
    from provenance.pipeline.session import Session
    from provenance.reuse.cache import Hit


def run_chain(
    pipeline: Pipeline,
    name: str,
    params: Parameters,
    steps: Callable[[Session], dict[str, Hit]],
    conclude: Callable[[Session, dict[str, Hit]], int],
    tags: Mapping[str, str],
    about: Callable[[Session, dict[str, Hit]], Sequence[str]] = lambda session, made: (),
) -> None:
    """One run called `name` over `steps(session)`, the finished steps by name; their outputs are its own, by reference.

    `conclude(session, steps)` prints the result and returns the exit code: a run that ends in another than 0 failed.
    `about(session, steps)` gives the paragraphs of its page, the result first.
    """
    from mlflow.entities import Metric

    from provenance.record import names
    from provenance.record.dataset_inputs import same_inputs
    from provenance.record.lineage import normalise
    from provenance.record.writer import named, record_finish, record_start, set_tags
    from provenance.reuse import heartbeat

    with own_run(name) as run:
        session = open_session(pipeline, params, run)
        client, run_id = session.client, run.info.run_id
        with heartbeat.Heartbeat(client, run_id, session.project) as beating:
            set_tags(client, run_id, beating.tags() | named(run, name) | {names.CHAIN: run_id, **tags})
            heartbeat.mark_dead_runs(client, session.experiments, session.project)
            given = {key: normalise(value) for key, value in params.items()}
            lineage = session.lineage(
                name,
                params={key: value for key, value in given.items() if key not in pipeline.placement},
                placement={key: value for key, value in given.items() if key in pipeline.placement},
                inputs=(),
                key_inputs={},
            )
            record_start(session, lineage)
            made = steps(session)
            session.code_unchanged(lineage)
            so_far = {f"best_{metric.name}" for metric in pipeline.headline}  # a search's, while it went on
            scores = {
                key: value
                for hit in made.values()
                for key, value in hit.metrics.items()
                if key not in so_far and not key.startswith(names.CURVES)
            }
            client.log_batch(run_id, metrics=[Metric(key, value, 0, 0) for key, value in scores.items()])
            set_tags(client, run_id, {f"{names.PREFIX}run.{step}": hit.run_id for step, hit in made.items()})
            outputs = tuple(
                replace(output, name=f"{step}.{output.name}")
                for step, hit in made.items()
                for output in hit.lineage.outputs
            )
            first = next(iter(made.values()))
            same_inputs(client, run_id, first.run_id)
            finished = replace(lineage, inputs=first.lineage.inputs, outputs=outputs).with_key()
            runs = {step: hit.run_id for step, hit in made.items()}
            record_finish(session, finished, steps=runs, about=about(session, made))
            exit_code = conclude(session, made)
        echo(f"run {run_id}")
        if exit_code:
            sys.exit(exit_code)
