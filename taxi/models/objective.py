"""The objective of a search: fit a family of models with given parameters, and score the model."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from runtime.machine_errors import machine_error
from search.curves import TRIAL_POINTS, thinned
from search.trial import Params, TrialResult, estimator_folder, failed, files_digest, one_thread, over_time, saved_files
from taxi.dataset.stored_split import AnySplit


def modules(family: str) -> tuple[str, ...]:
    """What trials of a family import."""
    theirs = {"xgboost": "xgboost", "random_forest": "sklearn.ensemble", "linear": "sklearn.linear_model"}
    return ("taxi.models.families", "taxi.evaluation.metrics", "taxi.dataset.dataset", theirs[family])


@dataclass(frozen=True)
class Objective:
    """What every trial of a search does. Picklable, and a pure function of its data and parameters.

    `seed` is the fit's own, the same for every trial; `timeout` is in seconds, None for no limit.
    """

    family: str
    features: str
    seed: int
    timeout: float | None = None

    @property
    def modules(self) -> tuple[str, ...]:
        """Slow to import: once for all workers, in advance."""
        return modules(self.family)

    def import_modules(self) -> None:
        """Import `modules` in this process."""
        for module in self.modules:
            import_module(module)

    @property
    def streams(self) -> bool:
        """Whether a trial reads its splits part by part."""
        from taxi.models.families import FAMILIES

        return FAMILIES[self.family].streams

    def bytes_needed(self, rows: int) -> int:
        """Memory of one worker process, at most, for a family that streams."""
        from taxi.models.quantile_bins import bytes_needed

        return bytes_needed(rows)

    def __call__(self, data: Sequence[AnySplit], number: int, params: Params) -> TrialResult:
        """Fit on the first split of `data`, score on the second. Over time is a failed trial; errors are raised."""
        self.import_modules()
        from taxi.evaluation.metrics import measured, metrics
        from taxi.models.families import FAMILIES, TrialTimeout

        train, val = data
        family, start = FAMILIES[self.family], time.monotonic()
        deadline = None if self.timeout is None else start + self.timeout
        try:
            with one_thread():
                typed = family.parse(params, self.features)
                estimator = family.fit(train, val, typed, self.seed, threads=1, deadline=deadline)
                scores = metrics(*measured(estimator, val), "val")
        except TrialTimeout:
            if self.timeout is None:
                raise
            return failed(number, params, over_time(self.timeout), time.monotonic() - start)
        if not math.isfinite(scores["val_rmse"]):
            raise ArithmeticError(f"val_rmse is {scores['val_rmse']}")
        files, best = saved_files(estimator), estimator.best_iteration or 0
        return TrialResult(
            number,
            params,
            "ok",
            loss=scores["val_rmse"],
            metrics=scores,
            best_iteration=estimator.best_iteration,
            model_digest=files_digest(files),
            seconds=time.monotonic() - start,
            files=files,
            extra={name: values[best] for name, values in estimator.curves.items() if name not in scores},
            curves={name: thinned(values, best, TRIAL_POINTS) for name, values in estimator.curves.items()},
        )


def rescored(family: str, files: dict[str, bytes], val: AnySplit) -> tuple[dict[str, float], int | None] | None:
    """(metrics, best iteration) of a saved estimator on `val`, to the last bit those of the trial that saved it.

    The files may come from a stranger. None if they are not an estimator of the family or do not fit the split.
    """
    from taxi.evaluation.metrics import measured, metrics
    from taxi.models.families import load

    try:
        with estimator_folder(files) as folder, one_thread():
            estimator = load(family, folder)
            return metrics(*measured(estimator, val), "val"), estimator.best_iteration
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError) as error:
        if machine_error(error):
            raise  # nothing is wrong with the files
        return None
