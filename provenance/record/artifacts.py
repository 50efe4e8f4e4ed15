"""Artifacts by URI: log a folder so that a half-written one shows, fetch one, check one against its record."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from provenance.record.digest import DigestError, list_tree, verify
from provenance.record.lineage import Input, Output
from provenance.record.problem import Problem, ProblemKind
from provenance.record.validation import without_remedy
from provenance.store import locations
from provenance.store.locations import LocationError
from runtime.machine_errors import machine_error
from runtime.progress import counted, growing
from runtime.server_errors import answer_cut_off, server_unavailable

# MLflow adds this file to a logged model when it is registered, and rewrites it when it is registered again.
REGISTRATION = "registered_model_meta"
ATTEMPTS = 3  # at a copy from a server
SMALL = 20_000_000  # bytes of a record, a list or a manifest at the very most; a real one has less than 100,000


class ArtifactError(ValueError):
    """An artifact that is not there, cannot be fetched or is not what its record says."""


class ArtifactUnavailable(ArtifactError):
    """An artifact that its store does not have or does not give: deleted, most likely."""


def log_folder(client: MlflowClient, run_id: str, folder: Path, name: str, last: str | None = None) -> Output:
    """Log `folder` as artifact `name`, the file `last` (its manifest) after all others; its record."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda path: path == folder / (last or ""))
    sizes = {path: path.stat().st_size for path in files}
    for path in counted(files, f"keep {name}", sum(sizes.values()), "B", sizes.__getitem__):
        client.log_artifact(run_id, str(path), PurePosixPath(name, *path.relative_to(folder).parent.parts).as_posix())
    return output_record(folder, name, f"runs:/{run_id}/{name}")


def output_record(folder: Path, name: str, uri: str, volatile: tuple[str, ...] = ()) -> Output:
    listing = list_tree(folder, volatile)
    files = {path: entry for path, entry in listing.files.items() if path != REGISTRATION and not path.endswith(".pyc")}
    return Output(name, uri, listing.digest, files, tuple(path for path in listing.volatile if path in files))


def _location(uri: str, given: bool = False) -> str:
    """Where `uri` lies. Raises ArtifactError where no record may send a reader; `given`: nor he himself MLflow."""
    try:
        return locations.of_given(uri) if given else locations.of_stored(uri)
    except LocationError as error:
        raise ArtifactError(f"{error}\n Give runs:/<run id>/<artifact>.") from error
    except MlflowException as error:
        raise ArtifactUnavailable(
            f"{uri} cannot be resolved: {error.message}\n Give runs:/<run id>/<artifact>."
        ) from error
    except OSError as error:
        raise ArtifactError(f"{uri:.200} cannot be read: {error.strerror}\n Give runs:/<run id>/<artifact>.") from error


def _local_folder(location: str) -> Path | None:
    """`location` on this machine, when the artifact store is a folder."""
    return locations.folder(location)


def address(uri: str) -> str:
    """Where other machines find the artifact at `uri`: its folder, or a URI of its store; http(s) through a server."""
    location = _location(uri, given=True)
    if (folder := _local_folder(location)) is not None:
        return str(folder.absolute())
    return get_artifact_repository(location).artifact_uri


@contextlib.contextmanager
def open_artifact(uri: str, given: bool = False) -> Iterator[Path]:
    """The artifact at `uri` as a local folder or file: in place where the store is a folder, else a temporary copy.

    Only what the tracking store keeps for a run or a model: `uri` may come from a record, and so from anybody.
    `given`: the user himself named it, so it may be a folder or bucket of his. Raises ArtifactError.
    """
    with _at(_location(uri, given), uri) as path:
        yield path


@contextlib.contextmanager
def _at(location: str, uri: str) -> Iterator[Path]:
    try:
        path = _local_folder(location)
        there = path is None or path.exists()
    except OSError as error:
        raise ArtifactError(f"{uri:.200} cannot be read: {error.strerror}\n Give runs:/<run id>/<artifact>.") from error
    if path is not None:
        if not there:
            raise ArtifactUnavailable(f"{uri} is not there ({path})\n Run the step that makes it again.")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        with _asking(uri), growing(f"fetch {uri}", Path(folder), lambda: sum(_sizes(location).values())):
            copy = _copied(location, Path(folder))
        yield copy


@contextlib.contextmanager
def _asking(uri: str) -> Iterator[None]:
    """What a store answers about one artifact, as an ArtifactError; that it is away stays what it is."""
    try:
        yield
    except (MlflowException, OSError) as error:
        if machine_error(error) or server_unavailable(error):
            raise  # nothing is wrong with the artifact
        raise ArtifactUnavailable(f"{uri} cannot be fetched: {error}\n Run the step that makes it again.") from error
    except ImportError as error:
        raise _no_client(uri, error) from error


def small_file(uri: str, most: int = SMALL) -> bytes:
    """The content of a record, a list or a manifest at `uri`, which anybody may have made as large as he likes.

    Raises ArtifactError when it has more than `most` bytes, before any of it is read.
    """
    location = _location(uri)
    if _local_folder(location) is None:
        folder, _, name = location.rpartition("/")
        with _asking(uri):
            listed = get_artifact_repository(folder).list_artifacts()
        _check_size(uri, next((info.file_size for info in listed if info.path == name), None), most)
    with _at(location, uri) as path:
        return read_small(path, uri, most)


def read_small(path: Path, uri: str, most: int = SMALL) -> bytes:
    """The content of a file of the artifact at `uri`. Raises ArtifactError when it has more than `most` bytes."""
    try:
        _check_size(uri, path.stat().st_size, most)
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{uri}: {path.name} cannot be read: {error.strerror}\n Run its step again.") from error


def _check_size(uri: str, size: int | None, most: int) -> None:
    if size is not None and size > most:
        raise ArtifactError(
            f"{uri} has {size:,} bytes, more than any of its kind\n It was altered: do not use the run."
        )


def _copied(location: str, folder: Path) -> Path:
    """A copy in `folder`, begun anew when it breaks off: MLflow repeats what has no answer, not what has half of it."""
    left = ATTEMPTS
    while True:
        left -= 1
        try:  # in a folder of its own: a copy must not hold what the one before left
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=str(folder / str(left))))
        except (MlflowException, OSError) as error:
            if not left or machine_error(error) or (server_unavailable(error) and not answer_cut_off(error)):
                raise  # on the next attempt it would be the same


def _no_client(uri: str, error: ImportError) -> ArtifactUnavailable:
    """MLflow knows stores whose client library is none of this project's."""
    return ArtifactUnavailable(
        f"{uri} lies in a store that needs {error.name}, which is not installed here\n Give runs:/<run id>/<artifact>."
    )


@contextlib.contextmanager
def open_verified(item: Input | Output, given: bool = False) -> Iterator[Path]:
    """The artifact `item` as `open_artifact` gives it, refused when its bytes are no longer those that were recorded.

    An earlier check may have seen another copy: what is checked here is what is read. Raises ArtifactError.
    """
    with open_artifact(item.uri, given) as folder:
        if isinstance(item, Output):
            damage = _damage(item, folder)
        else:
            now = output_record(folder, item.role, item.uri).digest
            damage = [Problem(ProblemKind.REPLACED, recorded=item.digest, found=now)] if now != item.digest else []
        if damage:
            raise ArtifactError(
                f"{item.uri} was altered after it was made ({damage[0]})\n Run the step that makes it again."
            )
        yield folder


def problems(output: Output) -> list[Problem]:
    """What keeps `output` from being what its record says: empty when every file is there with its digest.

    A store that is a folder is hashed in place; any other is asked for names and sizes first, which finds what
    was deleted or truncated without moving a byte.
    """
    return [replace(problem, output=output.name) for problem in _problems(output)]


def _problems(output: Output) -> list[Problem]:
    try:
        location = _location(output.uri)
        if _local_folder(location) is None and (found := _wrong_sizes(output, location)):
            return found
        with _at(location, output.uri) as folder:
            return _damage(output, folder)
    except (ArtifactUnavailable, MlflowException, ImportError) as error:
        return [Problem(ProblemKind.UNAVAILABLE, detail=without_remedy(error))]
    except (ArtifactError, DigestError) as error:
        return [Problem(ProblemKind.UNREADABLE, detail=without_remedy(error))]


def _damage(output: Output, folder: Path) -> list[Problem]:
    return [problem for problem in verify(folder, output.listing) if not _by_others(problem)]


def _by_others(problem: Problem) -> bool:
    """Files that MLflow and Python add to a model when it is registered or served from the store itself.

    Compiled code is none of ours to trust or mind: nothing here imports what came with a model.
    """
    compiled = problem.path.endswith(".pyc") and "__pycache__/" in problem.path
    return problem.path == REGISTRATION or (problem.kind is ProblemKind.EXTRA and compiled)


def _sizes(location: str) -> dict[str, int]:
    """Path -> bytes of every file at `location`, as its store lists them; 0 where it does not say."""
    repository = get_artifact_repository(location)
    sizes: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for info in repository.list_artifacts(folders.pop()):
            if info.is_dir:
                folders.append(info.path)
            else:
                sizes[info.path] = info.file_size or 0
    return sizes


def _wrong_sizes(output: Output, location: str) -> list[Problem]:
    sizes = _sizes(location)
    return [
        Problem(ProblemKind.RESIZED if path in sizes else ProblemKind.MISSING, path, size, sizes.get(path))
        for path, (size, _) in output.files.items()
        if sizes.get(path) != size
    ]
