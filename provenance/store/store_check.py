"""Check a tracking store before MLflow opens it: which version made it, and where its artifacts are.

MLflow converts the tables of an older store without a question. It also writes artifacts to the location in the store,
even if that is a folder of another machine. So this module looks first, and changes nothing. It needs only the standard
library. `python -m store_check FILE` corrects the locations in a store that was moved together with its artifacts.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from provenance.bootstrap.first_use_lock import ANOTHER_STORE, USED, other_version, schema_revisions
from provenance.pipeline.invocation import python_program

OF_WINDOWS = re.compile(r"(file:/*)?/?[A-Za-z]:[\\/]|\\\\")
ELSEWHERE = "Use --experiment-name with a new name, another MLFLOW_TRACKING_URI, or start in another folder."
RUN_ID = re.compile(r"[0-9a-f]{32}")
# Where MLflow notes the addresses of artifacts.
ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


class StoreError(ValueError):
    """This project must not open the store in its present state."""


def check(uri: str, run_id: str = "", experiment: str = "0", made_by: str = "") -> None:
    """Raise StoreError when opening the store at `uri` would convert it, or its artifacts would go to a wrong place.

    run_id, experiment: where this process is going to write. made_by: who made the store, if it is known.
    Databases other than sqlite, and files that cannot be read now, are left to MLflow.
    """
    if _is_file_store(uri):
        raise StoreError(
            f"{uri} is a store of files, which MLflow opens no more\n {ANOTHER_STORE}"
            " `mlflow migrate-filestore` takes its runs along."
        )
    path = sqlite_file(uri)
    if path is None or not path.is_file():
        return
    try:
        with reading(path) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if any(database.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in USED if name in tables):
                _check_version(database, uri, tables, made_by)
                _check_place(database, uri, path, run_id, experiment)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # of our own making; else it is locked, say, or unreadable
            raise
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is no sqlite database ({error})\n Use another MLFLOW_TRACKING_URI.") from None


def _is_file_store(uri: str) -> bool:
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    return not allowed and uri.startswith(("file:", "/", "."))


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite URI as MLflow takes it; None for other databases and for one in memory."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(match[1]) if match and match[1] != ":memory:" else None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, which is not changed: not even a journal is made."""
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=20)) as database:
        yield database


def _check_version(database: sqlite3.Connection, uri: str, tables: set[str], made_by: str) -> None:
    mlflow = find_spec("mlflow")
    places = mlflow.submodule_search_locations if mlflow else None
    newest, known = schema_revisions(Path(places[0])) if places else ("", set())
    revision = None  # MLflow 0.9 and before wrote none
    if "alembic_version" in tables:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
    if newest and revision != newest:
        raise StoreError(other_version(uri, revision is not None and revision not in known, made_by))


def _check_place(database: sqlite3.Connection, uri: str, path: Path, run_id: str, experiment: str) -> None:
    """Artifacts of the experiment worked in go where its store says: that must be a place of this machine."""
    row = database.execute(
        "SELECT experiment_id, e.name, artifact_uri FROM runs JOIN experiments e USING(experiment_id) WHERE run_uuid=?"
        if run_id
        else "SELECT experiment_id, name, artifact_location FROM experiments WHERE CAST(experiment_id AS TEXT) = ?",
        [run_id or experiment],
    ).fetchone()
    if row is None or not row[2]:
        return
    number, name, location = row
    place = check_address(uri, location)
    if place is None:
        return
    says = f"{uri} keeps the artifacts of the experiment {name!r} in {location}"
    home = Path(os.path.realpath(path)).parent
    if home in Path(os.path.realpath(place)).parents:
        return
    if _moved(database, home, number):
        correct = f"{python_program()} -m provenance.store.store_check {path}"
        raise StoreError(
            f"{says}, but was moved or copied with them to {home}\n"
            " So nothing would be found there, and new files would go to the old place. Move it back, or have the store"
            f" look here from now on: `{correct}` in this project's folder"
            " (docs/faq.md#the-store)."
        )
    root = place.parents[1] if run_id and place.parent.name == run_id else place  # of <experiment>/<run id>/artifacts
    base = root.parents[1] if root.parent.name == "mlruns" else root.parent
    others = "SELECT 1 FROM runs WHERE experiment_id = ? AND run_uuid != ? LIMIT 1"
    if not root.exists() and not base.exists() and database.execute(others, [number, run_id]).fetchone():
        raise StoreError(f"{says}, which does not exist here\n {ELSEWHERE} Or make that folder.")


def check_address(uri: str, location: str) -> Path | None:
    """The folder of this machine where the store at `uri` has artifacts put; None for a bucket or a server.

    Raises StoreError for an address of another machine: MLflow would make a folder of that name here.
    """
    place = local_path(location)
    if place is None and (OF_WINDOWS.match(location) or location.startswith("file:")):
        raise StoreError(f"{uri} keeps artifacts in {location}, a folder of another machine\n {ELSEWHERE}")
    if place is not None and not place.is_absolute():
        raise StoreError(f"{uri} keeps artifacts in {location}, another folder for each process\n {ELSEWHERE}")
    return place


def local_path(location: str) -> Path | None:
    """The path of this machine that an artifact location means; None for a bucket, a server, another machine."""
    if OF_WINDOWS.match(location):
        return None
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return Path(location) if not parts.scheme else None


def _moved(database: sqlite3.Connection, home: Path, number: object) -> bool:
    """Whether artifacts of this experiment's runs lie beside the store, in the place that MLflow gives them first."""
    folder = home / "mlruns" / str(number)
    try:
        there = [name for name in os.listdir(folder) if RUN_ID.fullmatch(name)]
    except OSError:
        return False
    return any(database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", [name]).fetchone() for name in there[:1000])


def tell_moved(path: Path) -> int:
    """Have the store at `path` look for artifacts beside itself, where it was moved with them; how many addresses."""
    home, changed = Path(os.path.realpath(path)).parent, 0
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as database, database:
        places = {}
        for number, location in database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
            place = local_path(location or "")
            if place is not None and place.parts[-2:] == ("mlruns", str(number)) and _moved(database, home, number):
                places[str(place.parent)] = str(home / "mlruns")
        for table, columns in ADDRESSES.items():
            known = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for column in known.intersection(columns):
                for old, new in places.items():
                    for before, after in ((old, new), (Path(old).as_uri(), Path(new).as_uri())):
                        if before == after:
                            continue
                        changed += database.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                            [after + "/", len(before) + 2, len(before) + 1, before + "/"],
                        ).rowcount
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit(
            "Usage: python -m provenance.store.store_check FILE   (a store, e.g. mlflow.db, moved with its artifacts)"
        )
    print(f"{tell_moved(Path(sys.argv[1]))} addresses now lead beside {sys.argv[1]}")
