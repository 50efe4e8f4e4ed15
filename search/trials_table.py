"""The trials of a search as one table, without times and run ids."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from search.trial import TrialResult


def trials_table(results: Sequence[TrialResult]) -> pa.Table:
    """One row for each trial: number, status, `params.<name>`, `metrics.<name>`, rounds, model digest and error."""
    params = sorted({name for result in results for name in result.params})
    metrics = sorted({name for result in results for name in result.metrics})
    return pa.table(
        {
            "number": pa.array([result.number for result in results], pa.int64()),
            "status": pa.array([result.status for result in results], pa.string()),
            **{f"params.{name}": pa.array([result.params.get(name) for result in results]) for name in params},
            **{f"metrics.{name}": _numbers([result.metrics.get(name) for result in results]) for name in metrics},
            "best_iteration": pa.array([result.best_iteration for result in results], pa.int64()),
            "model_digest": pa.array([result.model_digest for result in results], pa.string()),
            "error": pa.array([result.error for result in results], pa.string()),
        }
    )


def write_trials(results: Sequence[TrialResult], path: Path) -> None:
    """Write the table as Parquet: equal trials give equal bytes."""
    pq.write_table(trials_table(results), path, compression="zstd")


def _numbers(values: list[float | None]) -> pa.Array:
    return pa.array(values, pa.float64())
