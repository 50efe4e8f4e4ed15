"""Trials as nested runs: written as soon as they finish, found again by what their result depends on."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact
from provenance.record.digest import digest_json
from provenance.record.lineage import Lineage
from provenance.store.paging import every
from search.trial import TrialResult, files_digest

# Parameters of a search that only say where it ends or what it keeps: the trials before that are the same.
ENDS = ("max_evals", "stop_after", "top_n")


def search_key(lineage: Lineage) -> str:
    """What trial n of a search depends on: its key without where the search ends."""
    components = lineage.components()
    params = {name: value for name, value in lineage.params.items() if name not in ENDS}
    return digest_json({**components, "params": params})


# (metrics, best iteration) of an estimator's files on the search's validation months; None when they hold no model.
Rescored = Callable[[dict[str, bytes]], tuple[dict[str, float], int | None] | None]


@dataclass(frozen=True)
class Found:
    """A run that says what came of a trial."""

    run_id: str
    result: TrialResult

    def score(self) -> tuple[float, int]:
        return self.result.val_rmse, self.result.number


class TrialRuns:
    """The nested trial runs of one hpo run, and the trials of earlier searches that it continues."""

    def __init__(self, client: MlflowClient, experiment_id: str, hpo_run_id: str, key: str, top_n: int, project: str):
        self._client, self._experiment, self._hpo = client, experiment_id, hpo_run_id
        self._key, self._top_n, self._project = key, top_n, project
        self.runs: dict[int, str] = {}  # trial number -> its nested run of this search
        self._files_in: dict[int, str] = {}  # trial number -> the run that holds its estimator files
        self._scores: list[tuple[float, int]] = []  # (val_rmse, number) of what was written, in no order
        self._best: float | None = None  # of what was told, in order of number

    def known(self, max_evals: int, trusted: Collection[str], own: Collection[str], rescored: Rescored,
              say: Callable[[str], None]) -> dict[int, TrialResult]:  # fmt: skip
        """Finished trials of any search with this key, also of a killed one: each becomes a nested run here, linked.

        `trusted` are the experiments they are taken from. A trial that could be among the best is taken only together
        with the model it states, from which `rescored` must give the scores it states: whoever may write a tag could
        win with it otherwise. One that lost is believed without it in the experiments `own`, which are one's own or
        where one works: after a crash a search goes on without scoring everything again. The others are run again.
        """
        found: dict[int, list[Found]] = {}
        sound: set[str] = set()  # runs whose model is what they state
        for run in self._finished(trusted):
            try:
                result = TrialResult.from_json(run.data.tags[names.TRIAL_RESULT])
            except ValueError:
                continue  # cut, altered or another version's: the trial is run again
            one = Found(run.info.run_id, result)
            if result.number < max_evals and run.info.experiment_id not in own and self._is_sound(one, rescored):
                sound.add(one.run_id)
            if result.number < max_evals and (run.info.experiment_id in own or one.run_id in sound):
                found.setdefault(result.number, []).append(one)
        while doubtful := next((one for one in self._leading(found) if one.run_id not in sound), None):
            if self._is_sound(doubtful, rescored):
                sound.add(doubtful.run_id)
                continue
            found[doubtful.result.number].remove(doubtful)
            say(
                f"trial {doubtful.result.number} of run {doubtful.run_id} is not taken: "
                "its model was not kept, or does not score what the run says"
            )
        known = {number: runs[0] for number, runs in sorted(found.items()) if runs}
        for number, one in known.items():
            self._files_in[number] = one.run_id
            self._write(one.result, {names.REUSED: one.run_id})
        return {number: one.result for number, one in known.items()}

    def _leading(self, found: Mapping[int, list[Found]]) -> list[Found]:
        """Those that would be candidates if no other trial came."""
        finished = [runs[0] for runs in found.values() if runs and runs[0].result.status == "ok"]
        return sorted(finished, key=Found.score)[: self._top_n]

    @staticmethod
    def _is_sound(one: Found, rescored: Rescored) -> bool:
        """Whether the run has the model that it states, and that one the scores. Never of a trial that failed."""
        result = one.result
        if result.status != "ok" or (files := _kept(one.run_id, result)) is None:
            return False
        return result.val_rmse == result.metrics.get("val_rmse") and rescored(files) == (
            result.metrics,
            result.best_iteration,
        )

    def _finished(self, experiments: Collection[str]) -> Iterator[Run]:
        query = f"tags.`{names.SEARCH_KEY}` = '{self._key}' and tags.`{names.TRIAL_RESULT}` != ''"
        oldest_first = ["attributes.start_time ASC"]
        for run in every(self._client.search_runs, list(experiments), query, order_by=oldest_first):
            if run.info.lifecycle_stage == "active" and names.REUSED not in run.data.tags:
                yield run

    def log(self, result: TrialResult) -> None:
        """Write a new result; its estimator's files too while it is among the best, so that nothing is fitted twice."""
        ok = result.status == "ok"
        keep = ok and self._among_best(result)
        self._write(result, {}, files=result.files if keep else {})

    def forget(self, result: TrialResult) -> None:
        """A known trial is not one of this search: its link is taken back, and the trial runs."""
        self._client.delete_run(self.runs.pop(result.number))
        self._files_in.pop(result.number, None)
        if result.status == "ok":
            self._scores.remove((result.val_rmse, result.number))

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
        run_id = self._files_in.get(result.number)
        return run_id and _kept(run_id, result)


def _kept(run_id: str, result: TrialResult) -> dict[str, bytes] | None:
    """The estimator files of trial run `run_id`; None when it has none, or others than `result` says."""
    try:
        with open_artifact(f"runs:/{run_id}/{names.ESTIMATOR}") as folder:
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
    except ArtifactError:
        return None
    return files if files_digest(files) == result.model_digest else None
