"""The dataset as a cluster's workers get it: from where its artifact lies, every file checked, nothing through us."""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote

from runtime.files import sha256_file
from runtime.server_login import authorization
from taxi.dataset.dataset import Dataset, DatasetError
from taxi.dataset.manifest import MANIFEST
from taxi.dataset.stored_split import AnySplit

TIMEOUT_SECONDS = 60  # of silence


def load_splits(uri: str, manifest_sha256: str | None = None) -> tuple[AnySplit, AnySplit]:
    """Train and val of the dataset at `uri`: a folder that every machine sees, file://, http(s)://, s3:// or gs://.

    In a folder they stay where they are, to be read in parts; from elsewhere they come into memory. With
    `manifest_sha256` (hex) no other dataset is taken for it. Raises DatasetError.
    """
    with on_disk(uri, manifest_sha256) as dataset:
        read: Callable[[str], AnySplit] = dataset.split if _in_place(uri) else dataset.load
        return read("train"), read("val")


@contextmanager
def on_disk(uri: str, manifest_sha256: str | None = None) -> Iterator[Dataset]:
    """The same dataset on this worker's disk while the block lasts, if need be as a copy. Raises DatasetError."""
    if _in_place(uri):
        yield _opened(Path(unquote(uri.removeprefix("file://")) if "://" in uri else uri), manifest_sha256)
        return
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        if uri.startswith(("http://", "https://")):
            _download(uri.rstrip("/"), Path(folder))
        else:
            from pyarrow import fs

            filesystem, path = fs.FileSystem.from_uri(uri)
            fs.copy_files(path, folder, source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem())
        yield _opened(Path(folder), manifest_sha256)


def _in_place(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def _opened(folder: Path, manifest_sha256: str | None) -> Dataset:
    manifest = folder / MANIFEST
    if manifest_sha256 and manifest.exists() and sha256_file(manifest) != manifest_sha256:
        raise DatasetError(f"{folder} on this worker is another dataset than the one searched on\nRun hpo again.")
    return Dataset.open(folder)


def _download(uri: str, folder: Path) -> None:
    """The manifest, and what it lists; a path that leads out of `folder` is refused."""
    _get(f"{uri}/{MANIFEST}", folder / MANIFEST)
    for name in json.loads((folder / MANIFEST).read_bytes())["files"]:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f"{uri}: {name[:100]!r} is no file of a dataset\nRun preprocess again.")
        path.parent.mkdir(parents=True, exist_ok=True)
        _get(f"{uri}/{quote(name)}", path)


def _get(url: str, path: Path) -> None:
    request = urllib.request.Request(url)
    if (login := authorization(url)) is not None:
        request.add_unredirected_header("Authorization", login)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, open(path, "wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise DatasetError(f"{url} cannot be fetched: {error}\n{_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    if getattr(error, "code", None) in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (
            "Start the workers with MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of "
            "a user who may read it."
        )
    return "Give workers the way to the artifact store."
