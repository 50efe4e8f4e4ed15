"""What a trial does whose model is a few files: fit it, score it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from search.trial import Metric, Params, TrialResult, files_digest, loss_of, one_thread

Files: TypeAlias = dict[str, bytes]


@dataclass(frozen=True)
class FileObjective:
    """Calls functions of a module, on the dataset in a folder, so that it can be sent to a worker.

    fit: the files of a model with these parameters. score: the metrics of a model's files, `metric` among them.
    """

    fit: Callable[[Path, Params], Files]
    score: Callable[[Files, Path], dict[str, float]]
    metric: Metric

    def __call__(self, folder: Path, number: int, params: Params) -> TrialResult:
        with one_thread():
            files = self.fit(folder, params)
            scores = self.score(files, folder)
        loss = loss_of(self.metric, scores[self.metric.name])
        return TrialResult(
            number, params, "ok", loss=loss, metrics=scores, model_digest=files_digest(files), files=files
        )
