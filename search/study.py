"""What a search looks for: where, by which metric, and what a trial does. Knows nothing of runs."""

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
    """The numbers of a search, as `tpe.search` and people know them. stop_after 0: never stop early."""

    max_evals: int
    batch: int = 4
    seed: int = 42
    stop_after: int = 0
    top_n: int = 5

    @classmethod
    def of(cls, params: Mapping[str, object]) -> Settings:
        """Those among the parameters of a step; what it has none of is left at its default."""
        return cls(**{name: int(str(params[name])) for name in cls.__dataclass_fields__ if name in params})


@dataclass(frozen=True)
class Study:
    """The search space, the metric by which trials are compared, and what each of them does.

    What data the objective takes is between it and the engine: Any here. limits: the lowest and the highest value that
    there is of a parameter at all, where the space could not be made wider.
    """

    dimensions: Sequence[Dimension]
    metric: Metric
    objective: Objective[Any]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """As hyperopt takes it: parameter name -> expression."""
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
            workers=engine.workers,
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
        """Where the best trial lies at an end of the space that could be moved, in words."""
        return [where for best in self.best(results) for where in edges(self.dimensions, best.params, self.limits)]

    def write(self, results: Sequence[TrialResult], path: Path) -> None:
        """All trials as one Parquet table."""
        write_trials(results, path)
