"""A step's command line. It handles signals and turns a user's mistake into one clear message."""

from __future__ import annotations

import errno
import functools
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import click

from provenance.bootstrap.project import ENGINE, ROOT
from provenance.pipeline.shutdown import handle_shutdown, interrupted
from runtime.machine_errors import machine_error

if TYPE_CHECKING:
    from mlflow.entities import Run

    from provenance.pipeline.declaration import Pipeline
    from provenance.pipeline.session import Session


class Refused(click.ClickException):
    """A user's mistake. The message says what is wrong, where, and what to do next. The exit code is 2."""

    exit_code = 2


# Missing permissions. `machine_error` and `server_error` explain the other errors of a machine or a server.
_FORBIDDEN = {
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "not permitted; choose a folder you may write to",
}
_SQL = "\n[SQL:"  # a database's error repeats the whole statement after this


# Click passes parameters to a command and to its `early` by name. Each has the type of its option.
Command: TypeAlias = Callable[..., None]


@overload
def checked(command: Command, *, early: Callable[..., Any] = ...) -> Command: ...


@overload
def checked(command: None = None, *, early: Callable[..., Any] = ...) -> Callable[[Command], Command]: ...


def checked(
    command: Command | None = None, *, early: Callable[..., Any] = lambda **params: None
) -> Command | Callable[[Command], Command]:
    """Wrap a command: a signal ends it, and a user's mistake gives one clear message instead of a traceback.

    `early` is called with the same parameters before MLflow is imported. It can start work in another process, which
    then runs during the import.
    """
    if command is None:
        return functools.partial(checked, early=early)

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        run_id = os.environ.get("MLFLOW_RUN_ID")  # set by `mlflow run`; MLflow deletes the variable when the run ends
        by_launcher = os.getppid() if run_id else 0
        handle_shutdown()
        for stream in (sys.stdout, sys.stderr):  # the encoding of a terminal may lack letters of a path or a name
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        _check_tracking_uri()
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # the steps show their own progress
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is the result
        try:
            early(**kwargs)
            _import_mlflow()
            command(*args, **kwargs)
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
    """A message of several lines, without control characters that a terminal would obey."""
    from provenance.record.validation import printable

    return "\n".join(map(printable, text.split("\n")))


def _import_mlflow() -> None:
    """Import MLflow without garbage collection, and exclude its objects from later collections.

    MLflow creates hundreds of thousands of objects that live until the process ends. To search them for garbage costs
    time and frees nothing.
    """
    if "mlflow" not in sys.modules:
        gc.disable()
        import mlflow  # noqa: F401

        gc.enable()
        gc.freeze()


def _said(error: Exception) -> str | None:
    """The message for a user's mistake or for an error of the machine or a server; None for a bug in the code."""
    from mlflow.exceptions import MlflowException

    from provenance.git.command import without_credentials
    from provenance.record.validation import one_line
    from runtime.server_errors import server_error

    if isinstance(error, ValueError) and _is_ours(type(error)):
        text = str(error)
        # A message of one line, such as one of git, says what happened but not what to do next.
        helps = machine_error(error) if "\n" not in text else None
        return "\n".join([text, *helps.splitlines()[1:]]) if helps else text
    if line := machine_error(error) or server_error(error):
        return line
    if isinstance(error, MlflowException):
        return f"MLflow: {one_line(without_credentials(error.message.partition(_SQL)[0]))}"
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return f"{error.filename or 'a write'}: {_FORBIDDEN[error.errno]}"
    return None


def _is_ours(kind: type[Exception]) -> bool:
    """Whether the engine or the project defines this error, and not an installed package or Python."""
    file: str | None = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or "site-packages" in Path(file).parts:  # .venv lies in the project
        return False
    folders = [Path(root) for root in (ROOT, ENGINE)]
    # The packages of a project may be links, as those of examples/wine are: then the file as it was found is inside.
    return any(Path(file).is_relative_to(folder) or Path(file).resolve().is_relative_to(folder.resolve())
               for folder in folders)  # fmt: skip


def _check_tracking_uri() -> None:
    """Check MLFLOW_TRACKING_URI. Raises Refused.

    A relative sqlite URI is refused, because each process would open another database in its own folder. A URI with a
    password is refused, because MLflow prints the URI.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "@" in uri.partition("://")[2].partition("/")[0] and uri.startswith("http"):
        raise Refused(
            "MLFLOW_TRACKING_URI holds a user or password, which MLflow prints with each address\n"
            " Take them out, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and change the password."
        )
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        from provenance.pipeline.invocation import launcher_folder

        folder = launcher_folder()
        raise Refused(
            f"MLFLOW_TRACKING_URI={uri} is relative: `mlflow run` and its steps would open two different databases\n"
            f" Use MLFLOW_TRACKING_URI=sqlite:///{os.path.join(folder, uri.removeprefix('sqlite:///'))}"
        )
    _check_store(uri or f"sqlite:///{Path.cwd()}/mlflow.db", os.environ.get("MLFLOW_REGISTRY_URI", ""))


def _check_store(tracking: str, registry: str) -> None:
    """Refuse a store that MLflow would convert by opening it, or whose artifacts lie on another machine."""
    from provenance.pipeline.invocation import launched_by
    from provenance.store.store_check import StoreError, check

    run_id, experiment = os.environ.get("MLFLOW_RUN_ID", ""), os.environ.get("MLFLOW_EXPERIMENT_ID", "0")
    try:
        check(tracking, run_id, experiment, launched_by())
        if registry and registry != tracking:
            check(registry)
    except StoreError as error:
        raise Refused(str(error)) from None


def open_session(pipeline: Pipeline, params: Mapping[str, object], run: Run | None) -> Session:
    """Open what an entry point of `pipeline` works with.

    Raises StoreError, ManagerError, SigningKeyError or TrustedKeyError.
    """
    from mlflow import MlflowClient

    from provenance.bootstrap.managers import check_interpreter
    from provenance.pipeline.session import Session
    from provenance.store import locations
    from provenance.store.store_check import check_address
    from runtime import progress

    check_interpreter(run, pipeline.root)
    quiet = bool(params.get("quiet"))
    progress.show(not quiet)
    if run:  # only an open run says where its server keeps artifacts
        check_address("the tracking store", run.info.artifact_uri)
        locations.check_own(run)
    trust = str(params.get("trust", "experiment"))
    session = Session(pipeline, MlflowClient(), run, quiet=quiet, trust=trust)
    session.signer  # noqa: B018  A key that cannot sign is an error before any work.
    if session.only_signed:
        session.signatures.require_keys()
    return session
