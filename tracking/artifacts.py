"""Artifacts by URI: log a folder so that a half-written one shows, fetch one, check one against its record."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

from taxi.fault import fault
from taxi.progress import counted, growing
from tracking.digest import DigestError, list_tree, verify
from tracking.lineage import Input, Output
from tracking.outage import broke_off, is_away

# MLflow adds this file to a logged model when it is registered, and rewrites it when it is registered again.
REGISTRATION = "registered_model_meta"
ATTEMPTS = 3  # at a copy from a server


class ArtifactError(ValueError):
    """An artifact that is not there, cannot be fetched or is not what its record says."""


def log_folder(client: MlflowClient, run_id: str, folder: Path, name: str, last: str | None = None) -> Output:
    """Log `folder` as artifact `name`, the file `last` (its manifest) after all others; its record."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda path: path == folder / (last or ""))
    sizes = {path: path.stat().st_size for path in files}
    for path in counted(files, f"keep {name}", sum(sizes.values()), "B", sizes.__getitem__):
        client.log_artifact(run_id, str(path), PurePosixPath(name, *path.relative_to(folder).parent.parts).as_posix())
    return record(folder, name, f"runs:/{run_id}/{name}")


def record(folder: Path, name: str, uri: str, volatile: tuple[str, ...] = ()) -> Output:
    listing = list_tree(folder, volatile)
    files = {path: entry for path, entry in listing.files.items() if path != REGISTRATION and not path.endswith(".pyc")}
    return Output(name, uri, listing.digest, files, tuple(path for path in listing.volatile if path in files))


def _local_folder(uri: str) -> Path | None:
    """Where `uri` lies on this machine, when the artifact store is a folder."""
    repository = get_artifact_repository(uri)
    if isinstance(repository, RunsArtifactRepository | ModelsArtifactRepository):
        repository = repository.repo
    return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None


def address(uri: str) -> str:
    """Where other machines find the artifact at `uri`: its folder, or a URI of its store; http(s) through a server."""
    if "://" not in uri and ":/" not in uri:
        return str(Path(uri).absolute())
    if (folder := _local_folder(uri)) is not None:
        return str(folder)
    repository = get_artifact_repository(uri)
    if isinstance(repository, RunsArtifactRepository | ModelsArtifactRepository):
        repository = repository.repo
    return repository.artifact_uri


@contextlib.contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """The artifact at `uri` as a local folder or file: in place where the store is a folder, else a temporary copy."""
    try:
        path = Path(uri) if "://" not in uri and ":/" not in uri else _local_folder(uri)
        there = path is None or path.exists()
    except OSError as error:
        raise ArtifactError(f"{uri:.200} cannot be read: {error.strerror}\n Give runs:/<run id>/<artifact>.") from error
    except MlflowException as error:
        raise ArtifactError(f"{uri} cannot be resolved: {error.message}\n Give runs:/<run id>/<artifact>.") from error
    except ImportError as error:
        raise _no_client(uri, error) from error
    if path is not None:
        if not there:
            raise ArtifactError(f"{uri} is not there ({path})\n Run the step that makes it again.")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        try:
            with growing(f"fetch {uri}", Path(folder), lambda: sum(_sizes(uri).values())):
                copy = _copied(uri, Path(folder))
        except (MlflowException, OSError) as error:
            if fault(error) or is_away(error):
                raise  # nothing is wrong with the artifact
            raise ArtifactError(f"{uri} cannot be fetched: {error}\n Run the step that makes it again.") from error
        except ImportError as error:
            raise _no_client(uri, error) from error
        yield copy


def _copied(uri: str, folder: Path) -> Path:
    """A copy in `folder`, begun anew when it breaks off: MLflow repeats what has no answer, not what has half of it."""
    for left in reversed(range(ATTEMPTS)):
        try:  # in a folder of its own: a copy must not hold what the one before left
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder / str(left))))
        except (MlflowException, OSError) as error:
            if not left or fault(error) or (is_away(error) and not broke_off(error)):
                raise  # on the next attempt it would be the same


def _no_client(uri: str, error: ImportError) -> ArtifactError:
    """MLflow knows stores whose client library is none of this project's."""
    return ArtifactError(
        f"{uri} lies in a store that needs {error.name}, which is not installed here\n Give runs:/<run id>/<artifact>."
    )


@contextlib.contextmanager
def unaltered(item: Input | Output) -> Iterator[Path]:
    """The artifact `item` as `fetched` gives it, refused when its bytes are no longer those that were recorded.

    An earlier check may have seen another copy: what is checked here is what is read. Raises ArtifactError.
    """
    with fetched(item.uri) as folder:
        if isinstance(item, Output):
            damage = _damage(item, folder)
        else:
            now = record(folder, item.role, item.uri).digest
            damage = [f"sha256 {now[:12]}, recorded {item.digest[:12]}"] if now != item.digest else []
        if damage:
            raise ArtifactError(
                f"{item.uri} was altered after it was made ({damage[0]})\n Run the step that makes it again."
            )
        yield folder


def problems(output: Output) -> list[str]:
    """What keeps `output` from being what its record says: empty when every file is there with its digest.

    A store that is a folder is hashed in place; any other is asked for names and sizes first, which finds what
    was deleted or truncated without moving a byte.
    """
    try:
        if _local_folder(output.uri) is None and (found := _wrong_sizes(output)):
            return found
        with fetched(output.uri) as folder:
            return [f"output {output.name}: {problem}" for problem in _damage(output, folder)]
    except (ArtifactError, DigestError, MlflowException) as error:
        return [f"output {output.name}: {str(error).splitlines()[0]}"]


def _damage(output: Output, folder: Path) -> list[str]:
    return [problem for problem in verify(folder, output.listing) if not _by_others(problem)]


def _by_others(problem: str) -> bool:
    """Files that MLflow and Python add to a model when it is registered or served from the store itself.

    Compiled code is none of ours to trust or mind: nothing here imports what came with a model.
    """
    path, what = problem.split()[:2]
    return path == REGISTRATION or (what == "extra:" and path.endswith(".pyc") and "__pycache__/" in path)


def _sizes(uri: str) -> dict[str, int]:
    """Path -> bytes of every file of the artifact at `uri`, as its store lists them."""
    repository = get_artifact_repository(uri)
    sizes: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for info in repository.list_artifacts(folders.pop()):
            if info.is_dir:
                folders.append(info.path)
            else:
                sizes[info.path] = info.file_size
    return sizes


def _wrong_sizes(output: Output) -> list[str]:
    sizes = _sizes(output.uri)
    return [
        f"output {output.name}: {path} {'missing' if path not in sizes else 'truncated or altered'}"
        for path, (size, _) in output.files.items()
        if sizes.get(path) != size
    ]
