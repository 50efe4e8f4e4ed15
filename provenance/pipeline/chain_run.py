"""A run that is a chain of steps. It adds the order of the steps, links to their runs and the lines at the end."""

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
    """Run several steps as one MLflow run. The outputs of the steps are recorded as its outputs, by reference.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    name : str
        Name of the entry point and of the run.
    params : mapping of str to object
        Parameters of the entry point, by name.
    steps : callable
        ``steps(session)`` runs the steps, or finds finished runs of them. It returns one `Hit` for each step, by the
        name of the step, in the order in which they ran. There must be at least one.
    conclude : callable
        ``conclude(session, hits)`` prints the result and returns the exit code. MLflow calls the run failed when the
        exit code is not 0.
    tags : mapping of str to str
        Further tags of the run.
    about : callable, optional
        ``about(session, hits)`` returns the paragraphs of the run's page. The first one is the result.

    Raises
    ------
    SystemExit
        With the exit code of `conclude`, if it is not 0.
    CodeError
        If the code was changed while the steps worked.
    """
    from mlflow.entities import Metric

    from provenance.record import names, run_tags
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
            so_far = {f"best_{metric.name}" for metric in pipeline.headline}  # logged by a search while it works
            scores = {
                key: value
                for hit in made.values()
                for key, value in hit.metrics.items()
                if key not in so_far and not key.startswith(names.CURVES)
            }
            headline = [metric.name for metric in pipeline.headline]
            first_shown = sorted(scores, key=lambda key: headline.index(key) if key in headline else len(headline))
            client.log_batch(run_id, metrics=[Metric(key, scores[key], 0, 0) for key in first_shown])
            runs = {step: hit.run_id for step, hit in made.items()}
            set_tags(client, run_id, run_tags.of_steps(runs))
            outputs = tuple(
                replace(output, name=f"{step}.{output.name}")
                for step, hit in made.items()
                for output in hit.lineage.outputs
            )
            first = next(iter(made.values()))
            same_inputs(client, run_id, first.run_id)
            finished = replace(lineage, inputs=first.lineage.inputs, outputs=outputs).with_key()
            record_finish(session, finished, steps=runs, about=about(session, made))
            exit_code = conclude(session, made)
        echo(f"run {run_id}")
        if exit_code:
            sys.exit(exit_code)
