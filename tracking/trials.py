"""Trials as nested runs: written as soon as they finish, found again by what their result depends on."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from taxi.trials import TrialResult, files_digest
from tracking import cache, names
from tracking.artifacts import ArtifactError, fetched
from tracking.digest import digest_json
from tracking.lineage import Lineage
from tracking.paging import every

# Parameters of a search that only say where it ends or what it keeps: the trials before that are the same.
ENDS = ("max_evals", "stop_after", "top_n")


def search_key(lineage: Lineage) -> str:
    """What trial n of a search depends on: its key without where the search ends."""
    components = lineage.components()
    params = {name: value for name, value in lineage.params.items() if name not in ENDS}
    return digest_json({**components, "params": params})


class TrialRuns:
    """The nested trial runs of one hpo run, and the trials of earlier searches that it continues."""

    def __init__(self, client: MlflowClient, experiment_id: str, hpo_run_id: str, key: str, top_n: int, project: str):
        self._client, self._experiment, self._hpo = client, experiment_id, hpo_run_id
        self._key, self._top_n, self._project = key, top_n, project
        self.runs: dict[int, str] = {}  # trial number -> its nested run of this search
        self._files_in: dict[int, str] = {}  # trial number -> the run that holds its estimator files
        self._scores: list[tuple[float, int]] = []  # (val_rmse, number) of what was written, in no order
        self._best: float | None = None  # of what was told, in order of number

    def known(self, max_evals: int) -> dict[int, TrialResult]:
        """Finished trials of any search with this key, also of a killed one: each becomes a nested run here, linked."""
        found: dict[int, tuple[str, TrialResult]] = {}
        query = f"tags.`{names.SEARCH_KEY}` = '{self._key}' and tags.`{names.TRIAL_RESULT}` != ''"
        oldest_first = ["attributes.start_time ASC"]
        for run in every(self._client.search_runs, cache.experiments(self._client), query, order_by=oldest_first):
            if run.info.lifecycle_stage == "active" and names.REUSED not in run.data.tags:
                try:
                    result = TrialResult.from_json(run.data.tags[names.TRIAL_RESULT])
                except ValueError:
                    continue  # cut, altered or another version's: the trial is run again
                found.setdefault(result.number, (run.info.run_id, result))
        known = {number: found[number] for number in sorted(found) if number < max_evals}
        for number, (run_id, result) in known.items():
            self._files_in[number] = run_id
            self._write(result, {names.REUSED: run_id})
        return {number: result for number, (_, result) in known.items()}

    def log(self, result: TrialResult) -> None:
        """Write a new result; its estimator's files too while it is among the best, so that nothing is fitted twice."""
        ok = result.status == "ok"
        keep = ok and self._among_best(result)
        self._write(result, {}, files=result.files if keep else {})

    def _among_best(self, result: TrialResult) -> bool:
        """Among itself and those before it: so is every trial that is among the best in the end, wherever that is."""
        mine = (result.val_rmse, result.number)
        return sum(score < mine and score[1] < result.number for score in self._scores) < self._top_n

    def follow(self, result: TrialResult) -> None:
        """The search as it goes, on its own run: each trial's validation RMSE and the best so far, by trial number."""
        if result.status != "ok":
            return
        now = int(time.time() * 1000)
        self._best = result.val_rmse if self._best is None else min(self._best, result.val_rmse)
        live = {"val_rmse": result.val_rmse, "best_val_rmse": self._best}
        metrics = [Metric(name, value, now, result.number) for name, value in live.items()]
        self._client.log_batch(self._hpo, metrics=metrics)

    def _write(self, result: TrialResult, tags: Mapping[str, str], files: Mapping[str, bytes] | None = None) -> None:
        client, now = self._client, int(time.time() * 1000)
        begun = now - int(result.seconds * 1000)
        fixed = {
            names.PROJECT: self._project,
            names.PARENT: self._hpo,
            names.RUN_NAME: f"trial {result.number}",
            names.TRIAL: str(result.number),
            names.SEARCH_KEY: self._key,
        }
        run_id = client.create_run(self._experiment, start_time=begun, tags={**fixed, **tags}).info.run_id
        try:
            self._fill(run_id, result, files or {}, now)
        except BaseException:
            with contextlib.suppress(MlflowException):  # else found dead, and ended, by the next run
                client.set_terminated(run_id, "FAILED")
            raise
        self.runs[result.number] = run_id
        if result.status == "ok":
            self._scores.append((result.val_rmse, result.number))

    def _fill(self, run_id: str, result: TrialResult, files: Mapping[str, bytes], now: int) -> None:
        """All that is known of a trial, and the end of its run."""
        client, ok = self._client, result.status == "ok"
        if files:
            self._log_files(run_id, files)
            self._files_in[result.number] = run_id
        metrics = [Metric(name, value, now, 0) for name, value in result.metrics.items()]
        if ok and result.best_iteration is not None:
            metrics.append(Metric("best_iteration", result.best_iteration, now, 0))
        notes = [RunTag("error", result.error)] if result.error else []
        if result.traceback:
            client.log_text(run_id, result.traceback, "traceback.txt")
        # The result comes last and in one call: a trial without it never happened.
        client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(name, str(value)) for name, value in result.params.items()],
            tags=[*notes, RunTag(names.TRIAL_RESULT, replace(result, traceback=None).to_json())],
        )
        client.set_terminated(run_id, "FINISHED" if ok else "FAILED")

    def _log_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="estimator-") as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(run_id, folder, names.ESTIMATOR)

    def files(self, result: TrialResult) -> dict[str, bytes] | None:
        """The estimator files of a finished trial; None when they were not kept or are not what the trial recorded."""
        if result.files:
            return dict(result.files)
        if result.number not in self._files_in:
            return None
        try:
            with fetched(f"runs:/{self._files_in[result.number]}/{names.ESTIMATOR}") as folder:
                files = {
                    path.relative_to(folder).as_posix(): path.read_bytes()
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                }
        except ArtifactError:
            return None
        return files if files_digest(files) == result.model_digest else None
