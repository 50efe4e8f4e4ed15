"""Models of trials that are a few files: checked, fitted once more, logged. For a project that needs no more."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models import infer_signature

from provenance.pipeline.declaration import Metric
from provenance.pipeline.session import RunError
from provenance.pipeline.step_run import StepRun
from provenance.record import names
from provenance.record.artifacts import open_verified, small_file
from provenance.record.lineage import Output
from provenance.registry.logged_model import PREDICTOR as PREDICTOR_FOLDER
from provenance.registry.logged_model import Described, ModelSource, log_model
from provenance.registry.registration import register_model
from provenance.reuse.consistency import PREDICTOR, candidates, inconsistent
from search.engines.local import LocalEngine
from search.file_objective import FileObjective, Files
from search.trial import Params, TrialResult

ESTIMATOR = "estimator"  # the folder of a trial's files inside a model's data


@dataclass(frozen=True)
class FileModels:
    """Of trials on the dataset in `folder`.

    example: rows to try a model on. predict: what a model's files answer to such rows.
    """

    source: ModelSource
    folder: Path
    objective: FileObjective
    example: pd.DataFrame
    predict: Callable[[Files, pd.DataFrame], npt.NDArray[np.float64]]

    def engine(self, step: StepRun) -> LocalEngine:
        """Worker processes on this machine."""
        workers, most = int(str(step.params["workers"])), int(str(step.params["batch"]))
        return LocalEngine(self.objective, partial(Path, self.folder), workers, most)

    def import_libraries(self) -> None:
        """Nothing: this module imported them."""

    def verify(self, result: TrialResult, files: Files) -> bool:
        try:
            return self.objective.score(files, self.folder) == result.metrics
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
            return False  # the files come from a stranger, and are no model of this project

    def fit_again(self, result: TrialResult) -> TrialResult:
        return self.objective(self.folder, result.number, result.params)

    def fit(self, params: Params, run_id: str) -> Output:
        """Fit one model and log it as run `run_id`'s."""
        result = self.objective(self.folder, 0, params)
        return self.log(result, result.files, run_id, names.MODEL)

    def log(self, result: TrialResult, files: Files, run_id: str, name: str = "") -> Output:
        answers = pd.DataFrame({"prediction": self.predict(files, self.example)})
        described = Described(infer_signature(self.example, answers), self.example, result.params, result.metrics, {})
        with tempfile.TemporaryDirectory(prefix="predictor-") as scratch:
            data = Path(scratch, PREDICTOR_FOLDER)
            folder = data / ESTIMATOR
            folder.mkdir(parents=True)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            return log_model(self.source, data, described, run_id, name or f"trial-{result.number}")[1]


def best_of_search(step: StepRun) -> tuple[TrialResult, Path]:
    """The best trial of the search that the step reads, with its model's files, and the dataset it searched on.

    None of the code inside the model runs. Raises RunError for a search that was altered, ArtifactError for a model.
    """
    made = step.session.hit(step.input(names.SEARCH).uri.split("/")[1])
    if wrong := inconsistent(step.client, made.run_id, made.lineage, step.session.pipeline):
        raise RunError(f"{'; '.join(wrong)}\n Do not register anything of it: search again.")
    row = candidates(made.outputs[names.SEARCH])["candidates"][0]
    params = json.loads(small_file(f"{made.outputs[names.SEARCH].uri}/{names.BEST_PARAMS_FILE}"))
    with open_verified(made.outputs[f"{names.MODEL}-{row['trial']}"]) as folder:
        paths = sorted((folder / PREDICTOR / ESTIMATOR).iterdir())
        files = {path.name: path.read_bytes() for path in paths if path.is_file()}
    metrics = {name: value for name, value in row.items() if name not in ("trial", "model_digest")}
    dataset = next(item for item in made.lineage.inputs if item.role == names.DATASET)
    best = TrialResult(row["trial"], params, "ok", metrics=metrics, model_digest=row["model_digest"], files=files)
    return best, step.folder(dataset)


def register_best(
    step: StepRun,
    models: Callable[[Path], FileModels],
    score: Callable[[Files, Path], dict[str, float]],
    metric: Metric,
    description: str,
) -> None:
    """Judge the best trial of a search by `score`, and register its model: champion if `metric` beats the champion's.

    `models` gives the models of trials on a dataset, `score` the metrics of a model's files on one.
    """
    best, folder = best_of_search(step)
    best = replace(best, metrics={**best.metrics, **score(best.files, folder)})
    model = models(folder).log(best, best.files, step.run_id)
    register_model(step, model, metric, best.metrics, description)
