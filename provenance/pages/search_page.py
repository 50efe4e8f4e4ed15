"""The plots of a search, on the page of its run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient

from provenance.pages import search_plots
from provenance.pages.importance import hyperparameter_importance
from provenance.pages.parallel_coordinates import parallel_coordinates
from provenance.record import names
from runtime import plotting
from search.study import Study
from search.trial import Metric, TrialResult
from search.trials_table import trials_table


def trials_csv(results: Sequence[TrialResult], metric: Metric) -> str:
    """The trials as MLflow shows a table: what is in ``trials.parquet`` but for digests, the best trial first."""
    table = trials_table(results).to_pandas()
    metrics = [name for name in table if name.startswith("metrics.")]
    first = ["number", *sorted(metrics, key=lambda name: name != f"metrics.{metric.name}")]
    rest = [name for name in table if name not in (*first, "model_digest")]
    best_first = table.sort_values(f"metrics.{metric.name}", ascending=not metric.greater_is_better)
    text: str = best_first[first + rest].to_csv(index=False, float_format="%.5g")
    return text


def log_search_plots(client: MlflowClient, run_id: str, results: Sequence[TrialResult], study: Study) -> None:
    """The search in pictures, under ``plots/``."""
    with tempfile.TemporaryDirectory(prefix="plots-") as name:
        folder = Path(name)
        plotting.save(search_plots.convergence(results, study.metric), folder / "convergence.png")
        if shares := hyperparameter_importance(results):
            figure = search_plots.importance(shares, study.metric.name)
            plotting.save(figure, folder / "hyperparameter_importance.png")
        page = parallel_coordinates(results, study.dimensions, study.metric)
        (folder / "parallel_coordinates.html").write_text(page, encoding="utf-8")
        (folder / "trials.csv").write_text(trials_csv(results, study.metric), encoding="utf-8")
        client.log_artifacts(run_id, name, names.PLOTS)
