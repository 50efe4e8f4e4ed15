"""Months of a dataset written by the workers of a Dask cluster, side by side: the same bytes as when written here."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from runtime.files import replace_file
from search.engines.cluster import Cluster
from search.engines.error import EngineError
from search.engines.shipping import Code
from taxi.dataset.month_files import Written, write_month
from taxi.months.month import Month
from taxi.sources.locate import locate


class ClusterMonths:
    """`written` for `builder.build`: every month is a task, given out at once, and fetched when its turn comes.

    A worker gets a month from `source` itself, so a folder must be one that every machine sees.
    """

    def __init__(self, cluster: Cluster, source: str, months: Iterable[Month], in_month: bool,
                 fetch: Mapping[str, Any]) -> None:  # fmt: skip
        self._cluster, self._tasks = cluster, {}
        for month in months:
            task = partial(month_content, source, month.taxi, month.name, in_month, dict(fetch))
            self._tasks[month.name] = cluster.submit(task, pure=False)

    def __call__(self, month: Month, path: Path) -> Written:
        """Raises EngineError when every worker that tried died, and whatever the month's own trouble is."""
        from distributed import KilledWorker

        try:
            content, written = self._cluster.result(self._tasks.pop(month.name))
        except KilledWorker as error:
            raise EngineError(f"workers die while they write {month.name}\nGive them more memory.") from error
        beside = path.with_suffix(".part")
        beside.write_bytes(content)
        replace_file(beside, path)
        return written


@contextmanager
def months_on(engine: str, code: Code, source: str, months: Iterable[Month], in_month: bool,
              fetch: Mapping[str, Any]) -> Iterator[ClusterMonths]:  # fmt: skip
    """The months of `source` on the cluster that `engine` names, ``dask://host:port``. Raises EngineError."""
    with closing(Cluster(engine, code)) as cluster:
        yield ClusterMonths(cluster, source, months, in_month, fetch)


def month_content(source: str, taxi: str, name: str, in_month: bool, fetch: Mapping[str, Any]) -> tuple[bytes, Written]:
    """On a worker: the month's file for a dataset, and what went into it."""
    with tempfile.TemporaryDirectory(prefix="month-") as scratch:
        [month] = locate(source, taxi, [name], scratch=Path(scratch), **fetch)
        path = Path(scratch, "kept.parquet")
        written = write_month(month, in_month, path)
        return path.read_bytes(), written
