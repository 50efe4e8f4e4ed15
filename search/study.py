"""A study: search space, metric and objective of a search. It does not use MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search import tpe
from search.engines.engine import Engine
from search.space import Dimension, Space, edges
from search.trial import Metric, Objective, TrialResult
from search.trials_table import write_trials


@dataclass(frozen=True)
class Settings:
    """The numbers that control a search; see `tpe.search`. top_n: how many of the best trials keep their model."""

    max_evals: int
    batch: int = 4
    seed: int = 42
    stop_after: int = 0
    top_n: int = 5

    @classmethod
    def of(cls, params: Mapping[str, object]) -> Settings:
        """The settings in the parameters of a step. A setting that the step does not have keeps its default."""
        return cls(**{name: int(str(params[name])) for name in cls.__dataclass_fields__ if name in params})


@dataclass(frozen=True)
class Study:
    """The search space, the metric by which trials are compared, and the objective that each trial runs.

    The study does not look at the objective's data, so its type is Any. limits: parameter -> the lowest and the highest
    value that it can have at all.
    """

    dimensions: Sequence[Dimension]
    metric: Metric
    objective: Objective[Any]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """The search space for hyperopt: parameter name -> expression."""
        return {dimension.name: dimension.expression() for dimension in self.dimensions}

    def search(
        self,
        engine: Engine,
        settings: Settings,
        known: Mapping[int, TrialResult],
        on_unlike: Callable[[TrialResult], None],
        on_finished: Callable[[TrialResult], None],
        on_told: Callable[[TrialResult], None],
    ) -> list[TrialResult]:
        """The trials by number, run on `engine`; see `tpe.search`."""
        return tpe.search(
            self.space,
            engine.submit,
            max_evals=settings.max_evals,
            batch=settings.batch,
            seed=settings.seed,
            workers=engine.workers + 1,  # one waits there, so that no worker waits for this thread
            stop_after=settings.stop_after,
            known=known,
            on_unlike=on_unlike,
            on_finished=on_finished,
            on_told=on_told,
        )

    def best(self, results: list[TrialResult], top: int = 1) -> list[TrialResult]:
        """The `top` finished trials with the lowest loss, best first."""
        return tpe.best(results, top)

    def edges(self, results: list[TrialResult]) -> list[str]:
        """One sentence for each parameter of the best trial that lies at an end of its range; see `space.edges`."""
        return [where for best in self.best(results) for where in edges(self.dimensions, best.params, self.limits)]

    def write(self, results: Sequence[TrialResult], path: Path) -> None:
        """All trials as one Parquet table."""
        write_trials(results, path)
