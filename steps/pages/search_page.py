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
from search.space import Dimension
from search.trial import TrialResult
from steps.pipeline import SEARCH_METRIC


def log_search_plots(
    client: MlflowClient, run_id: str, results: Sequence[TrialResult], dimensions: Sequence[Dimension]
) -> None:
    """The search in pictures, under ``plots/``."""
    with tempfile.TemporaryDirectory(prefix="plots-") as name:
        folder = Path(name)
        plotting.save(search_plots.convergence(results, SEARCH_METRIC), folder / "convergence.png")
        if shares := hyperparameter_importance(results):
            figure = search_plots.importance(shares, SEARCH_METRIC.name)
            plotting.save(figure, folder / "hyperparameter_importance.png")
        page = parallel_coordinates(results, dimensions, SEARCH_METRIC)
        (folder / "parallel_coordinates.html").write_text(page, encoding="utf-8")
        client.log_artifacts(run_id, name, names.PLOTS)
