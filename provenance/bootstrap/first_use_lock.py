"""What MLflow does on the first use of an environment and of a database: one process at a time, here.

It looks whether they are there and then makes them, without a lock. Of two that begin together one fails, and then
deletes the environment that the other is installing into. `lock_first_use` puts a lock around looking and making.
It also has MLflow leave a database of another version as it is, end the run of a launch that failed, say both in a
line, and use uv where there is no conda. The launcher has a copy of this file: it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, TypeAlias

if sys.platform == "win32":
    sys.exit(
        "Error: this project runs on Linux and macOS, not on Windows itself\n Use WSL: `wsl --install`, then there."
    )
import fcntl

Engine: TypeAlias = Any  # of SQLAlchemy, which MLflow brings
Module: TypeAlias = Any  # of MLflow, whose functions are replaced by others that take and give what those do
USED = ("experiments", "runs", "registered_models")  # tables; MLflow puts the first row into one of these


ANOTHER_STORE = (
    "Use another store: start in another folder with the launcher that `make setup` makes, or set MLFLOW_TRACKING_URI"
    " to a server (docs/launchers.md)."
)


def lock_of(environment: str | Path) -> Path:
    """Beside the environment, which is not there yet; who holds it is building."""
    return Path(f"{environment}.lock")


@contextlib.contextmanager
def holding_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; while another process does, wait and say so. The kernel frees it of the killed.

    Where no lock can be had (another user's folder) there is none.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            for _ in range(10):  # what takes a moment is not worth a word
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.1)
            else:
                print(f"waiting: another process {what}", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def environments(module: Module) -> None:
    """MLflow's builder, with uv or virtualenv, under the lock of the environment that it is asked for.

    It prints a line before and after; the installer's own hundred lines only when it fails.
    """
    from mlflow.exceptions import ExecutionException
    from mlflow.utils.process import ShellCommandException

    create = module._create_virtualenv

    @functools.wraps(create)
    def alone(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(create).bind(*args, **kwargs)
        folder, manager = Path(given.arguments["env_dir"]), given.arguments["env_manager"]
        given.arguments["capture_output"] = True
        with holding_lock(lock_of(folder), f"builds the environment {folder}"):
            if folder.exists():
                return create(*given.args, **given.kwargs)
            print(f"{manager} builds the environment, once, in a minute or two: {folder}", file=sys.stderr, flush=True)
            started = time.monotonic()
            try:
                made = create(*given.args, **given.kwargs)
            except ShellCommandException as error:
                print(error, file=sys.stderr, flush=True)
                raise ExecutionException(unbuilt(given.arguments["python_env"].python, manager)) from error
            print(f"the environment is built, in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            return made

    module._create_virtualenv = alone


def unbuilt(python: str, manager: str) -> str:
    """Why there is no environment, as far as it can be told; the installer's own words stand above it."""
    if manager == "uv":
        offline = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
        if subprocess.run(["uv", "python", "find", python], env=offline, capture_output=True).returncode:
            return (
                f"this machine has no Python {python}, and uv could not fetch it from GitHub (its words stand above)\n"
                f" Install it (`pyenv install {python}`), use conda, or set UV_PYTHON_INSTALL_MIRROR to a copy of"
                " https://github.com/astral-sh/python-build-standalone/releases/download"
            )
    return (
        f"the environment could not be built: the words of {manager} stand above\n"
        " It needs 2 GB of disk and the package index that your pip or uv is set to use. Then run again."
    )


def uv_without_conda(module: Module) -> None:
    """MLflow's choice for a project with a conda.yaml: uv, and a line that says so, where this machine has no conda."""
    choose = module._env_type_to_env_manager

    @functools.wraps(choose)
    def chosen(env_typ: Any) -> Any:
        manager = choose(env_typ)
        if manager != "conda" or _has_conda() or not shutil.which("uv"):
            return manager
        print("there is no conda here: the environment is uv's, as with --env-manager uv", file=sys.stderr, flush=True)
        return "uv"

    module._env_type_to_env_manager = chosen


def _has_conda() -> bool:
    """Whether MLflow would find conda. A place that the user named counts, also a wrong one: MLflow then says so."""
    at = os.environ.get("CONDA_EXE")
    return "MLFLOW_CONDA_HOME" in os.environ or bool(shutil.which(Path(at).with_name("conda") if at else "conda"))


def local_backend(module: Module) -> None:
    """Both of what is changed of MLflow's local backend."""
    uv_without_conda(module)
    launches(module)


def launches(module: Module) -> None:
    """A launch that fails before its step comes up: its run is ended, else it stays RUNNING."""
    from mlflow.exceptions import ExecutionException, MlflowException
    from mlflow.utils.process import ShellCommandException

    run, make, this = module.LocalBackend.run, module.get_or_create_run, threading.local()

    @functools.wraps(make)
    def remembered(*args: Any, **kwargs: Any) -> Any:
        this.run = make(*args, **kwargs)
        return this.run

    @functools.wraps(run)
    def ended(*args: Any, **kwargs: Any) -> Any:
        this.run = None
        try:
            return run(*args, **kwargs)
        except BaseException as error:
            if this.run:
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                with contextlib.suppress(MlflowException):  # the store is gone: then nobody can end it
                    module.tracking.MlflowClient().set_terminated(this.run.info.run_id, status)
            if isinstance(error, ShellCommandException):  # conda's
                raise ExecutionException(unbuilt("", "the environment's manager")) from error
            raise

    module.LocalBackend.run, module.get_or_create_run = ended, remembered


def schema_revisions(mlflow: Path) -> tuple[str, set[str]]:
    """The newest revision of a database's tables that the MLflow in folder `mlflow` knows, and all it knows."""
    texts = [path.read_text(errors="replace") for path in mlflow.glob("store/db_migrations/versions/*.py")]
    every, below = (
        {match[1] for text in texts if (match := re.search(rf"(?m)^{name}\b[^=\n]*=\s*['\"](\w+)", text))}
        for name in ("revision", "down_revision")
    )
    return next(iter(every - below), ""), every


def other_version(store: str, newer: bool, made_by: str = "") -> str:
    """That a database's tables are another MLflow's, and what helps."""
    here = f"MLflow {version('mlflow')}"
    made_by = made_by or f"{'a newer' if newer else 'an older'} MLflow"
    if newer:
        return f"{store} was made by {made_by}, and {here}, which this project pins, cannot open it\n {ANOTHER_STORE}"
    return (
        f"{store} was made by {made_by}, which could not open it any more once {here}, which this project pins, has\n"
        f" Nothing was changed. {ANOTHER_STORE}\n"
        f" To convert this one for good: copy it, then `mlflow db upgrade {store}` with {here}."
    )


def conda_environments(module: Module) -> None:
    """MLflow's builder with conda, under a lock for what it names an environment by: the text of conda.yaml."""
    create = module.get_or_create_conda_env

    @functools.wraps(create)
    def alone(conda_env_path: str | None, *args: Any, **kwargs: Any) -> Any:
        name = hashlib.sha256(Path(conda_env_path).read_bytes() if conda_env_path else b"").hexdigest()[:32]
        lock = Path(tempfile.gettempdir(), f"mlflow-conda-{os.getuid()}-{name}.lock")
        with holding_lock(lock, "builds the conda environment of this project"):
            return create(conda_env_path, *args, **kwargs)

    module.get_or_create_conda_env = alone


def databases(module: Module) -> None:
    """MLflow's look at a database's tables, and their making, under the lock of that database.

    Tables of another version that hold something are left as they are: MLflow would convert older ones unasked.
    """
    exist, make, verify = module._all_tables_exist, module._initialize_tables, module._verify_schema

    def refuse_other(engine: Engine) -> None:
        revision, (newest, known) = (
            module._get_schema_version(engine),
            schema_revisions(Path(module.__file__).parents[2]),
        )
        if revision == newest or not newest:
            return
        tables = set(module.sqlalchemy.inspect(engine).get_table_names())
        with engine.connect() as connection:
            first = (
                connection.execute(module.sqlalchemy.text(f"SELECT 1 FROM {t} LIMIT 1")).first()
                for t in USED
                if t in tables
            )
            if any(first):
                store = engine.url.render_as_string(hide_password=True)
                sys.exit("Error: " + other_version(store, revision is not None and revision not in known))

    def lock(engine: Engine) -> contextlib.AbstractContextManager[None]:
        name = hashlib.sha256(str(engine.url).encode()).hexdigest()[:32]
        return holding_lock(
            Path(tempfile.gettempdir(), f"mlflow-tables-{name}.lock"), "makes the tables of this database"
        )

    @functools.wraps(exist)
    def looked(engine: Engine) -> Any:
        with lock(engine):
            return exist(engine)

    @functools.wraps(make)
    def made(engine: Engine) -> None:
        with lock(engine):
            if not exist(engine):
                refuse_other(engine)
                make(engine)

    @functools.wraps(verify)
    def verified(engine: Engine) -> None:
        refuse_other(engine)
        verify(engine)

    module._all_tables_exist, module._initialize_tables, module._verify_schema = looked, made, verified


@dataclass(frozen=True)
class Change:
    """What is changed of one of MLflow's modules.

    uses: name in the module -> names of parameters, of what the change puts itself around, or calls.
    lost: what is so no more where MLflow has none such.
    """

    make: Callable[[Module], None]
    uses: Mapping[str, tuple[str, ...]]
    lost: str

    def missing(self, module: ModuleType) -> list[str]:
        """The names that `module` does not have, or not with these parameters."""
        return [name for name, parameters in self.uses.items() if not _has(module, name, parameters)]


def _has(module: ModuleType, name: str, parameters: tuple[str, ...]) -> bool:
    try:
        found = functools.reduce(getattr, name.split("."), module)
        return not callable(found) or set(parameters) <= set(inspect.signature(found).parameters)
    except (AttributeError, ValueError):
        return False


CHANGES = {
    "mlflow.utils.virtualenv": Change(
        environments,
        {"_create_virtualenv": ("python_env", "env_dir", "env_manager", "capture_output")},
        "two first runs at once may build one environment, and one of them fail: begin with one run",
    ),
    "mlflow.utils.conda": Change(
        conda_environments,
        {"get_or_create_conda_env": ("conda_env_path",)},
        "two first runs at once may build one conda environment, and one of them fail: begin with one run",
    ),
    "mlflow.projects.backend.local": Change(
        local_backend,
        {
            "_env_type_to_env_manager": ("env_typ",),
            "LocalBackend.run": ("self",),
            "get_or_create_run": (),
            "tracking.MlflowClient.set_terminated": ("run_id", "status"),
        },
        "a run whose environment cannot be built stays RUNNING, and without conda it takes --env-manager uv",
    ),
    "mlflow.store.db.utils": Change(
        databases,
        {
            "_all_tables_exist": ("engine",),
            "_initialize_tables": ("engine",),
            "_verify_schema": ("engine",),
            "_get_schema_version": ("engine",),
            "sqlalchemy.inspect": (),
        },
        "a database of another MLflow is converted unasked, and two first uses of a new one may fail",
    ),
}


def change(name: str, module: ModuleType) -> None:
    """Change MLflow's module `name`, or say what is lost: another MLflow does it in another way."""
    wanted = CHANGES[name]
    if missing := wanted.missing(module):
        print(
            f"warning: MLflow {version('mlflow')} has no {name}.{missing[0]} as this project knows it: {wanted.lost}",
            file=sys.stderr,
            flush=True,
        )
    else:
        wanted.make(module)


class _WhenImported:
    """Changes MLflow's modules as they are imported; imports none."""

    mark = "changed_by_one_at_a_time"  # on a module: a launcher and a step may both ask for it

    def __init__(self) -> None:
        self.looking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in CHANGES or self.looking:
            return None
        self.looking = True
        spec = find_spec(name)
        self.looking = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if not hasattr(module, self.mark):
                setattr(module, self.mark, True)
                change(name, module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader, not of its class
        return spec


def in_utf8() -> None:
    """Begin anew in UTF-8 where the locale has nothing but ASCII: MLflow cannot write down a folder called `ä` then.

    For the launcher, before anything else; MLproject says the same to the steps.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


def lock_first_use() -> None:
    """Let MLflow, which this process has not imported yet, make nothing for the first time beside another process."""
    sys.meta_path.insert(0, _WhenImported())


def no_usage_data() -> None:
    """MLflow sends usage data unless told not to; what the user says about it stands."""
    if not {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"} & os.environ.keys():
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")


def errors_in_a_line() -> None:
    """What MLflow refuses ends the command `mlflow` in a line rather than in forty of its own code."""
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        ours = Path(sys.argv[0]).stem == "mlflow" and any(base.__name__ == "MlflowException" for base in kind.__mro__)
        print(f"Error: MLflow: {error}", file=sys.stderr) if ours else show(kind, error, traceback)

    sys.excepthook = hook
