"""The shell around every step: errors to one clear line, signals, the run, its lineage, reuse, outputs."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from steps.ending import end_well, interrupted
from steps.output import echo
from taxi.fault import fault


class Refused(click.ClickException):
    """A user's mistake: what, where, what next; exit code 2."""

    exit_code = 2


# Who may not do something; what else a machine or a server does is the matter of `fault` and `outage`.
_FORBIDDEN = {
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "not permitted; choose a folder you may write to",
}
_SQL = "\n[SQL:"  # from here on a database's error repeats the whole statement


def checked(command: Callable | None = None, *, early: Callable[..., object] = lambda **params: None) -> Callable:
    """Wrap a command so that signals end it and a user's mistake ends in one clear line, not a traceback.

    `early` is called with its parameters before MLflow is imported: for what another process may do meanwhile.
    """
    if command is None:
        return functools.partial(checked, early=early)

    @functools.wraps(command)
    def guarded(*args, **kwargs):
        run_id = os.environ.get("MLFLOW_RUN_ID")  # of `mlflow run`; MLflow takes it away when the run ends
        by_launcher = os.getppid() if run_id else 0
        end_well()
        for stream in (sys.stdout, sys.stderr):  # a shell may know fewer letters than a path or a name has
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        _check_tracking_uri()
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # our own progress says enough
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is the result
        try:
            early(**kwargs)
            _import_mlflow()
            return command(*args, **kwargs)
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            raise interrupted(run_id, by_launcher) from None
        except Exception as error:
            if (text := _said(error)) is None:
                raise
            raise Refused(clean(text)) from error

    return guarded


def clean(text: str) -> str:
    """A message of several lines without anything that a terminal takes for an order."""
    from tracking.wellformed import printable

    return "\n".join(map(printable, text.split("\n")))


def _import_mlflow() -> None:
    """Hundreds of thousands of objects that stay: looking through them for garbage, then and later, takes a while."""
    if "mlflow" not in sys.modules:
        gc.disable()
        import mlflow  # noqa: F401

        gc.enable()
        gc.freeze()


def _said(error: Exception) -> str | None:
    """A user's mistake, or what the machine or a server did, as one clear message; None for a mistake of ours."""
    from mlflow.exceptions import MlflowException

    from tracking.git import without_credentials
    from tracking.outage import outage
    from tracking.wellformed import one_line

    # A door that was started as `python -m steps.train` is called __main__, and so are its own errors.
    ours = type(error).__module__.split(".")[0] in ("taxi", "tracking", "steps", "__main__")
    if isinstance(error, ValueError) and ours:
        text = str(error)
        helps = fault(error) if "\n" not in text else None  # git's words, for one, are about what, not about what next
        return "\n".join([text, *helps.splitlines()[1:]]) if helps else text
    if line := fault(error) or outage(error):
        return line
    if isinstance(error, MlflowException):
        return f"MLflow: {one_line(without_credentials(error.message.partition(_SQL)[0]))}"
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return f"{error.filename or 'a write'}: {_FORBIDDEN[error.errno]}"
    return None


def _check_tracking_uri() -> None:
    """Refuse a relative sqlite URI, opened in each process's folder as another database, and one with a password."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "@" in uri.partition("://")[2].partition("/")[0] and uri.startswith("http"):
        raise Refused(
            "MLFLOW_TRACKING_URI holds a user or password, which MLflow prints with each address\n"
            " Take them out, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and change the password."
        )
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        from steps.launcher import launcher_folder

        folder = launcher_folder()
        raise Refused(
            f"MLFLOW_TRACKING_URI={uri} is relative: `mlflow run` and its steps would open two different databases\n"
            f" Use MLFLOW_TRACKING_URI=sqlite:///{os.path.join(folder, uri.removeprefix('sqlite:///'))}"
        )
    _check_store(uri or f"sqlite:///{Path.cwd()}/mlflow.db", os.environ.get("MLFLOW_REGISTRY_URI", ""))


def _check_store(tracking: str, registry: str) -> None:
    """Refuse a store that MLflow would convert by opening it, or whose artifacts lie on another machine."""
    from steps.launcher import launched_by
    from tracking.store_check import StoreError, check

    run_id, experiment = os.environ.get("MLFLOW_RUN_ID", ""), os.environ.get("MLFLOW_EXPERIMENT_ID", "0")
    try:
        check(tracking, run_id, experiment, launched_by())
        if registry and registry != tracking:
            check(registry)
    except StoreError as error:
        raise Refused(str(error)) from None


@dataclass
class StepRun:
    """An open step: what its work may use, and where it puts what it leaves behind."""

    session: object
    params: Mapping[str, object]
    lineage: object
    folders: contextlib.ExitStack
    outputs: list = field(default_factory=list)
    note: str = ""

    def folder(self, item) -> Path:
        """The recorded input or output `item`, checked, on this machine until the step ends. Raises ArtifactError."""
        from tracking.artifacts import unaltered

        return self.folders.enter_context(unaltered(item))

    @property
    def client(self):
        return self.session.client

    @property
    def run_id(self) -> str:
        return self.session.run.info.run_id

    def say(self, line: str) -> None:
        self.session.say(line)

    def explain(self, note: str) -> None:
        """Markdown for the top of the run's page, from now on."""
        from tracking.record import explain

        self.note = note
        explain(self.session, self.lineage, note=note)

    def keep(self, output) -> None:
        """Record an output; all of them become usable together when the step ends."""
        self.outputs.append(output)

    def input(self, role: str):
        return next(item for item in self.lineage.inputs if item.role == role)


def session_for(params: Mapping[str, object], run) -> object:
    from mlflow import MlflowClient

    from taxi import progress
    from tracking import locations
    from tracking.managers import check_interpreter
    from tracking.session import Session
    from tracking.store_check import check_address

    base_url = os.environ.get("TLC_BASE_URL")
    check_interpreter(run)
    quiet = bool(params.get("quiet"))
    progress.show(not quiet)
    fetch = {"base_url": base_url, "progress": not quiet}
    if run:  # the store of a server, which nobody could look at before
        check_address("the tracking store", run.info.artifact_uri)
        locations.check_own(run)
    trust = str(params.get("trust", "experiment"))
    return Session(MlflowClient(), run, quiet=quiet, fetch=fetch, trust=trust)


def run_step(step, params: dict, work: Callable, report: Callable, tags: Mapping[str, str] | None = None) -> None:
    """Run `work(step_run)` as one run of `step`, or link the run to a finished one with the same key.

    `report(session, hit)` gives the lines printed at the end, the same for both.
    """
    from steps.graph import Graph
    from steps.launched_run import own_run
    from tracking import alive, names
    from tracking.cache import Hit
    from tracking.record import describe, finish, named, start, upload_patch

    with own_run(step.name) as run:
        session = session_for(params, run)
        client, run_id = session.client, run.info.run_id
        with alive.Heartbeat(client, run_id, session.project) as heartbeat:
            chain = run.data.tags.get(names.PARENT, run_id)
            describe(client, run_id, heartbeat.tags() | named(run, step.name) | {names.CHAIN: chain, **(tags or {})})
            alive.bury(client, session.experiments, session.project)
            graph = Graph(session, params)
            start(session, graph.bare(step))  # before anything can fail
            lineage = graph.lineage(step, graph.made_by)
            start(session, lineage)
            found = None
            if params["reuse"]:
                alive.wait_for_turn(
                    client, session.trusted_experiments, run_id, lineage.key, session.say, session.project
                )
                found = graph.found(step, lineage)
            session.code_unchanged(lineage)  # since it was digested, and as it was imported
            if isinstance(found, Hit):
                link(session, lineage, found)
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
                finish(session, finished, note=open_step.note)
                found = Hit(run_id, "", 0, finished, dict(client.get_run(run_id).data.metrics))
        for line in report(session, found):
            echo(line)
        echo(f"run {run_id}")


def link(session, lineage, found) -> None:
    """Let the run of `session` stand for the finished run `found`: its metrics and outputs by reference, no data."""
    from mlflow.entities import Metric

    from tracking import names
    from tracking.inputs import same_inputs
    from tracking.record import describe, finish

    session.say(f"reused run {found.run_id} (by {found.user}, {session.when(found)})")
    run_id = session.run.info.run_id
    metrics = [Metric(name, value, found.end_time, 0) for name, value in found.metrics.items()]
    session.client.log_batch(run_id, metrics=metrics)
    same_inputs(session.client, run_id, found.run_id)
    describe(session.client, run_id, {names.REUSED: found.run_id})
    finish(session, replace(lineage, outputs=found.lineage.outputs), reused=found.run_id)
