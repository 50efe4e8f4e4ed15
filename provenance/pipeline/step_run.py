"""Run one step as an MLflow run: record its lineage, reuse a finished run or do the work, record the outputs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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


class ChangedWhileRead(ValueError):
    """An external input that changed between the record and the reading of it."""


@dataclass
class StepRun:
    """A step that is running. Its work reads inputs and keeps outputs through this object.

    Attributes
    ----------
    session : Session
        The session of the run.
    params : mapping of str to object
        Parameters of the entry point, by name.
    lineage : Lineage
        The record of the run, without outputs.
    folders : ExitStack
        Holds the folders that `folder` opened, until the step ends.
    outputs : list of Output
        The outputs that `keep` received.
    note : str
        The Markdown that `explain` received.
    """

    session: Session
    params: Parameters
    lineage: Lineage
    folders: contextlib.ExitStack
    outputs: list[Output] = field(default_factory=list)
    note: str = ""

    def folder(self, item: Input | Output) -> Path:
        """Open an input or output on this machine. It stays open until the step ends.

        Parameters
        ----------
        item : Input or Output
            What to open.

        Returns
        -------
        Path
            A local folder whose content is what `item` recorded.

        Raises
        ------
        ArtifactError
            If the artifact is missing, or its content differs from the record.
        """
        from provenance.record.artifacts import open_verified

        return self.folders.enter_context(open_verified(item))

    @property
    def client(self) -> MlflowClient:
        """The client of the tracking store."""
        return self.session.client

    @property
    def run_id(self) -> str:
        """The id of this step's run."""
        return self.session.run_id

    def say(self, line: str) -> None:
        """Print one line of progress on stderr, unless ``quiet`` was given.

        Parameters
        ----------
        line : str
            The text, without a line end.
        """
        self.session.say(line)

    def explain(self, note: str) -> None:
        """Put text on the run's page, now and when the step ends.

        Parameters
        ----------
        note : str
            Markdown. It replaces an earlier note.
        """
        from provenance.record.writer import record_note

        self.note = note
        record_note(self.session, self.lineage, note=note)

    @contextlib.contextmanager
    def output_folder(self, name: str) -> Iterator[Path]:
        """An empty folder; what is in it at the end is logged as the output `name`."""
        from provenance.record.artifacts import log_folder

        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            yield Path(folder)
            self.keep(log_folder(self.client, self.run_id, Path(folder), name))

    def external_file(self) -> Path:
        """The one file that the step reads and no step made. Raises ChangedWhileRead."""
        from runtime.files import sha256_file

        external = self.session.pipeline.external(self.lineage.step)
        if external is None:
            raise LookupError(f"step {self.lineage.step} declares no external input")
        roles = external.roles(self.params)
        [(role, path)] = external.files(str(self.params[external.location]), self.params, roles).items()
        if sha256_file(path) != self.input(role).digest:
            raise ChangedWhileRead(f"{path} was changed while this run began\n Run again when it is settled.")
        return path

    def keep(self, output: Output) -> None:
        """Record an output. Other steps can use it only after this step has ended.

        Parameters
        ----------
        output : Output
            The record of an artifact that was logged, as `log_folder` returns it.
        """
        self.outputs.append(output)

    def input(self, role: str) -> Input:
        """An input of this step.

        Parameters
        ----------
        role : str
            The input's role: the `param` of a `Need`, or the role of an external input.

        Returns
        -------
        Input
            Its record.

        Raises
        ------
        StopIteration
            If the step has no input of this role.
        """
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
    """Run one step as an MLflow run, or reuse the outputs of a finished run that has the same key.

    Parameters
    ----------
    pipeline : Pipeline
        The project's declaration.
    step : Step
        The step to run.
    params : mapping of str to object
        Parameters of the entry point, by name. It must contain ``reuse``.
    work : callable
        ``work(step_run)`` does the work and keeps the outputs. It is not called if a finished run is reused.
    report : callable
        ``report(session, hit)`` returns the lines that are printed at the end. `hit` is this run or the reused run.
    tags : mapping of str to str, optional
        Further tags of the run.
    about : callable, optional
        ``about(session, hit)`` returns the paragraphs of the run's page. The first one is the result.

    Raises
    ------
    InputError
        If a given input is not what the step needs.
    ChainError
        If an earlier step that had to run has failed.
    CodeError, EnvironmentChanged
        If the code or the installed packages were changed while the step worked.
    CodeSourceError
        If the uncommitted changes seem to contain a secret. They would be uploaded with the run.
    """
    from provenance.pipeline.graph import Graph
    from provenance.pipeline.launched_run import own_run
    from provenance.record import names
    from provenance.record.writer import named, record_finish, record_start, set_tags, upload_patch
    from provenance.registry.signer_note import note_signer
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
                    client, session.awaited_experiments, run_id, lineage.key, session.say, session.project
                )
                found = graph.found(step, lineage)
            session.code_unchanged(lineage)  # the imported code is the recorded code
            if isinstance(found, Hit):
                link_reused(session, lineage, found, about(session, found))
            else:
                said = names.PARENT in run.data.tags  # by the chain, before it started this run
                for reason in found.reasons if found and not said else ():
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
                if session.signer and step.registers:
                    note_signer(session, found, session.signer.name)
        for line in report(session, found):
            echo(line)
        echo(f"run {run_id}")


def link_reused(session: Session, lineage: Lineage, found: Hit, about: Sequence[str] = ()) -> None:
    """Give the session's run the metrics and outputs of the finished run `found`. Outputs are linked, not copied.

    `about` holds the paragraphs of the run's page.
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
