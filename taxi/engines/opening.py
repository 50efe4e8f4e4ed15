"""An engine by its name, with the dataset where its workers find it."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from taxi.dataset import Dataset, searched_splits
from taxi.engines.engine import Engine, EngineError
from taxi.memory import affordable
from taxi.scratch import scratch_folder
from taxi.split import Split

DASK = "dask://"


@contextmanager
def opened(engine: str, objective: Callable, dataset: Dataset, uri: str, workers: int) -> Iterator[Engine]:
    """``local`` or ``dask://host:port``, with `workers` at most, 0 for as many as there are.

    Local workers read the dataset part by part where the objective `streams`; else they map one copy of its splits,
    written to a scratch folder. Of those that stream there are as many as memory holds, one at least. A cluster's
    workers load from `uri`: a folder that every machine sees, or file://, s3://, gs://. Raises EngineError.
    """
    if engine == "local":
        from taxi.engines.local import LocalEngine, cores
        from taxi.mapped import open_splits, save_splits

        with scratch_folder("splits") as scratch:
            if getattr(objective, "streams", False):
                load = partial(searched_splits, dataset.folder, scratch)
                rows = sum(dataset.manifest.rows(split) for split in ("train", "val"))
                workers = min(workers or cores(), affordable(objective.bytes_needed(rows)))
            else:
                save_splits(scratch, dataset.load("train"), dataset.load("val"))
                load = partial(open_splits, scratch)
            with LocalEngine(objective, load, workers) as local:
                yield local
    elif engine.startswith(DASK):
        from taxi.engines.dask import DaskEngine

        with DaskEngine(engine.removeprefix(DASK), objective, partial(load_splits, uri), workers) as cluster:
            yield cluster
    else:
        raise EngineError(f"no engine {engine!r}\nGive local, or dask://host:port of a Dask scheduler.")


def load_splits(uri: str) -> tuple[Split, Split]:
    """Train and val of the dataset at `uri`, fetched first unless it is a folder, every file checked by its digest."""
    if "://" not in uri:
        return searched_splits(Path(uri))
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(uri)
    if isinstance(filesystem, fs.LocalFileSystem):
        return searched_splits(Path(path))
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        fs.copy_files(path, folder, source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem())
        dataset = Dataset.open(folder)
        return dataset.load("train"), dataset.load("val")
