"""Artifacts by URI: log a folder, fetch an artifact, check an artifact against its record."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities import FileInfo
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

# MLflow writes this file into a logged model each time the model is registered.
REGISTRATION = "registered_model_meta"
ATTEMPTS = 3  # number of attempts to copy from a server
SMALL = 20_000_000  # bytes that a record, list or manifest may have; a real one has fewer than 100,000


class ArtifactError(ValueError):
    """An artifact is missing, cannot be fetched or differs from its record."""


class ArtifactUnavailable(ArtifactError):
    """The store does not have the artifact or does not send it. Probably it was deleted."""


def log_folder(client: MlflowClient, run_id: str, folder: Path, name: str, last: str | None = None) -> Output:
    """Log a folder as an artifact of a run.

    Parameters
    ----------
    client : MlflowClient
        Client of the tracking store.
    run_id : str
        The run.
    folder : Path
        The local folder.
    name : str
        Name of the artifact, and of the output.
    last : str, optional
        The file to log after all others, usually the manifest. An interrupted upload lacks it, and so it is noticed.

    Returns
    -------
    Output
        The record of the artifact: each file with its size and SHA-256.

    Raises
    ------
    MlflowException
        If the store refuses the upload.
    DigestError
        If the folder contains a link out of it, a device or an unprintable name.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda path: path == folder / (last or ""))
    sizes = {path: path.stat().st_size for path in files}
    for path in counted(files, f"keep {name}", sum(sizes.values()), "B", sizes.__getitem__):
        client.log_artifact(run_id, str(path), PurePosixPath(name, *path.relative_to(folder).parent.parts).as_posix())
    return output_record(folder, name, f"runs:/{run_id}/{name}")


def output_record(folder: Path, name: str, uri: str, volatile: tuple[str, ...] = ()) -> Output:
    """The record of the artifact `name` at `uri`, whose content is in the local `folder`. Raises DigestError.

    volatile: paths or patterns of files that differ from run to run; they are not part of the digest.
    """
    listing = list_tree(folder, volatile)
    files = {path: entry for path, entry in listing.files.items() if path != REGISTRATION and not path.endswith(".pyc")}
    return Output(name, uri, listing.digest, files, tuple(path for path in listing.volatile if path in files))


def _location(uri: str, given: bool = False) -> str:
    """The location of the artifact at `uri`. Raises ArtifactError if it may not be opened.

    given: the user named the URI, so more locations are allowed than for a URI from a record.
    """
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
    """`location` as a local path if the artifact store is a folder, else None."""
    return locations.folder(location)


def address(uri: str) -> str:
    """The address of the artifact at `uri` for other machines: a folder, or a URI of its store or server."""
    location = _location(uri, given=True)
    if (folder := _local_folder(location)) is not None:
        return str(folder.absolute())
    return get_artifact_repository(location).artifact_uri


@contextlib.contextmanager
def open_artifact(uri: str, given: bool = False) -> Iterator[Path]:
    """Open an artifact as a local folder or file.

    The path is the original if the artifact store is a local folder. Otherwise it is a temporary copy, which is deleted
    when the block ends.

    Parameters
    ----------
    uri : str
        The artifact, such as ``runs:/<run id>/<artifact>``. A URI from a record can come from a stranger, so it may
        only name an artifact of a run or a model of the tracking store.
    given : bool, optional
        Whether the user named the URI. Then it may also name a folder or a bucket.

    Yields
    ------
    Path
        The local folder or file.

    Raises
    ------
    ArtifactError
        If the artifact is missing, cannot be fetched or may not be opened.
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
    """Turn an error of a store about one artifact into ArtifactError. Errors of the whole server stay as they are."""
    try:
        yield
    except (MlflowException, OSError) as error:
        if machine_error(error) or server_unavailable(error):
            raise  # the machine or the server failed, not the artifact
        raise ArtifactUnavailable(f"{uri} cannot be fetched: {error}\n Run the step that makes it again.") from error
    except ImportError as error:
        raise _no_client(uri, error) from error


def small_file(uri: str, most: int = SMALL) -> bytes:
    """The content of a record, list or manifest at `uri`.

    Raises ArtifactError if it has more than `most` bytes. The size is checked before the content is read, because
    a stranger may have made the file huge.
    """
    location = _location(uri)
    if _local_folder(location) is None:
        _check_size(uri, next((info.file_size for info in _listed(uri, location)), None), most)
    with _at(location, uri) as path:
        return read_small(path, uri, most)


def optional_file(uri: str, most: int = SMALL) -> bytes | None:
    """The same, but None if the store does not list the file."""
    location = _location(uri)
    folder = _local_folder(location)
    with _asking(uri):
        there = folder.exists() if folder is not None else bool(_listed(uri, location))
    return small_file(uri, most) if there else None


def _listed(uri: str, location: str) -> list[FileInfo]:
    """The file at `location` as its store lists it; empty if it does not."""
    folder, _, name = location.rpartition("/")
    with _asking(uri):
        return [info for info in get_artifact_repository(folder).list_artifacts() if info.path == name]


def read_small(path: Path, uri: str, most: int = SMALL) -> bytes:
    """The content of the local file `path` of the artifact at `uri`.

    Raises ArtifactError if it cannot be read or has more than `most` bytes.
    """
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
    """A copy in `folder`. An interrupted copy is started again, because MLflow retries only requests without answer."""
    left = ATTEMPTS
    while True:
        left -= 1
        try:  # each attempt has its own folder, so that no file of a failed attempt stays
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=str(folder / str(left))))
        except (MlflowException, OSError) as error:
            if not left or machine_error(error) or (server_unavailable(error) and not answer_cut_off(error)):
                raise  # another attempt would fail, too


def _no_client(uri: str, error: ImportError) -> ArtifactUnavailable:
    """The error for a store whose client library is not a dependency of this project."""
    return ArtifactUnavailable(
        f"{uri} lies in a store that needs {error.name}, which is not installed here\n Give runs:/<run id>/<artifact>."
    )


@contextlib.contextmanager
def open_verified(item: Input | Output, given: bool = False) -> Iterator[Path]:
    """Open a recorded artifact, and check its bytes against the record first.

    The check uses the same local copy that the caller reads.

    Parameters
    ----------
    item : Input or Output
        The record of the artifact.
    given : bool, optional
        Whether the user named the artifact's URI; see `open_artifact`.

    Yields
    ------
    Path
        The local folder or file.

    Raises
    ------
    ArtifactError
        If the artifact is missing, cannot be fetched or differs from its record.
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
    """How the artifact of `output` differs from its record. The list is empty if each file has its recorded digest.

    A local folder is hashed in place. Another store is first asked for names and sizes: that finds deleted and
    truncated files without a download.
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
    """Whether MLflow or Python added the file, when the model was registered or was served from the store.

    An extra file with compiled code does no harm: this project does not import code from inside a model.
    """
    compiled = problem.path.endswith(".pyc") and "__pycache__/" in problem.path
    return problem.path == REGISTRATION or (problem.kind is ProblemKind.EXTRA and compiled)


def _sizes(location: str) -> dict[str, int]:
    """Path -> size in bytes of each file at `location`, as its store lists them; 0 if the store gives no size."""
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
