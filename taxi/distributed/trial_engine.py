"""An engine by its name, with the dataset where its workers find it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from runtime.files import sha256_file
from runtime.memory import affordable
from runtime.scratch import scratch_folder
from search.engines.engine import Engine
from search.engines.shipping import NO_CODE, Code
from taxi.dataset.dataset import Dataset, searched_splits
from taxi.dataset.manifest import MANIFEST
from taxi.dataset.stored_split import AnySplit
from taxi.models.objective import Objective


@contextmanager
def open_engine(
    engine: str,
    objective: Objective,
    dataset: Dataset,
    uri: str,
    workers: int = 0,
    most: int | None = None,
    code: Code = NO_CODE,
) -> Iterator[Engine]:
    """``local``, or with `code` a cluster, with `workers`, 0 for as many as it has cores or workers; at most `most`.

    Local workers read the dataset part by part where the objective `streams`; else they map one copy of its splits,
    written to a scratch folder. Of those that stream there are as many as memory holds, one at least. A cluster's
    workers load from `uri`: a folder that every machine sees, or file://, http(s)://, s3://, gs://. Raises EngineError.
    """
    if engine == "local":
        from runtime.cores import cores
        from search.engines.local import LocalEngine
        from taxi.dataset.mapped_split import open_splits, save_splits

        with scratch_folder("splits") as scratch:
            if getattr(objective, "streams", False):
                load: Callable[[], Sequence[AnySplit]] = partial(searched_splits, dataset.folder, scratch)
                rows = sum(dataset.manifest.rows(split) for split in ("train", "val"))
                workers = min(workers or cores(), affordable(objective.bytes_needed(rows)))
            else:
                save_splits(scratch, dataset.load("train"), dataset.load("val"))
                load = partial(open_splits, scratch)
            with LocalEngine(objective, load, workers, most) as local:
                yield local
    else:
        from search.engines.dask import DaskEngine
        from taxi.distributed.remote_dataset import load_splits

        load = partial(load_splits, uri, sha256_file(dataset.folder / MANIFEST))
        with DaskEngine(engine, objective, load, code, workers, most) as cluster:
            yield cluster
