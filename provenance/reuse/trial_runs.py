"""Trials as nested runs: written as soon as they finish, found again by what their result depends on."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from provenance.pipeline import declaration
from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact
from provenance.record.digest import digest_json
from provenance.record.lineage import Lineage
from provenance.record.validation import one_line
from provenance.store.paging import every
from search.trial import TrialResult, files_digest, loss_of

LIVE_SECONDS = 2.0  # a search's own points are not written more often: who watches it does not look more often


@dataclass(frozen=True)
class Trials:
    """What the trials of one search have in common.

    key: what their results depend on (`search_key`). top_n: how many of the best keep their model. metric: by which
    they are compared. verify: whether a trial's files are a model that has what its result says; the files may come
    from anybody.
    """

    key: str
    top_n: int
    metric: declaration.Metric
    verify: Callable[[TrialResult, dict[str, bytes]], bool]


def search_key(lineage: Lineage, ends: Collection[str]) -> str:
    """What trial n of a search depends on: its key without where the search ends.

    `ends` are parameters that only say how many trials there are or what is kept of them.
    """
    components = lineage.components()
    params = {name: value for name, value in lineage.params.items() if name not in ends}
    return digest_json({**components, "params": params})


@dataclass(frozen=True)
class Found:
    """A run that says what came of a trial."""

    run_id: str
    result: TrialResult

    def rank(self) -> tuple[float, int]:
        return self.result.known_loss, self.result.number


class TrialRuns:
    """The nested trial runs of one search's run, and the trials of earlier searches that it continues.

    `with` it: leaving writes the last points of the search as it went.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, search_run_id: str, trials: Trials, project: str):
        self._client, self._experiment, self._search_run = client, experiment_id, search_run_id
        self._trials, self._project = trials, project
        self.runs: dict[int, str] = {}  # trial number -> its nested run of this search
        self._files_in: dict[int, str] = {}  # trial number -> the run that holds its estimator files
        self._ranks: list[tuple[float, int]] = []  # (loss, number) of what was written, in no order
        self._best: float | None = None  # loss of what was told, in order of number
        self._points: list[Metric] = []  # of the search as it goes, not yet written
        self._written = time.monotonic()  # when such points were written last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*[MlflowException] if error else []):  # the error is what is to be seen
            self.flush()

    def known(
        self, max_evals: int, trusted: Collection[str], own: Collection[str], say: Callable[[str], None]
    ) -> dict[int, TrialResult]:
        """Finished trials of any search with this key, also of a killed one: each becomes a nested run here, linked.

        `trusted` are the experiments they are taken from. A trial that could be among the best is taken only together
        with the model it states, which must have the scores it states: anybody who may write a tag could win with it
        otherwise. One that lost is believed without it in the experiments `own`, which are one's own or where one
        works: after a crash a search goes on without scoring everything again. The others are run again.
        """
        found: dict[int, list[Found]] = {}
        sound: set[str] = set()  # runs whose model is what they state
        for run in self._finished(trusted):
            try:
                result = TrialResult.from_json(run.data.tags[names.TRIAL_RESULT])
            except ValueError:
                continue  # cut, altered or another version's: the trial is run again
            one = Found(run.info.run_id, result)
            if result.number < max_evals and run.info.experiment_id not in own and self._is_sound(one):
                sound.add(one.run_id)
            if result.number < max_evals and (run.info.experiment_id in own or one.run_id in sound):
                found.setdefault(result.number, []).append(one)
        while doubtful := next((one for one in self._leading(found) if one.run_id not in sound), None):
            if self._is_sound(doubtful):
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
        return sorted(finished, key=Found.rank)[: self._trials.top_n]

    def _is_sound(self, one: Found) -> bool:
        """Whether the run has the model that it states, and that one the scores. Never of a trial that failed."""
        result, metric = one.result, self._trials.metric
        if result.status != "ok" or metric.name not in result.metrics:
            return False
        if result.loss != loss_of(metric, result.metrics[metric.name]):
            return False
        files = _kept(one.run_id, result)
        return files is not None and self._trials.verify(result, files)

    def _finished(self, experiments: Collection[str]) -> Iterator[Run]:
        query = f"tags.`{names.SEARCH_KEY}` = '{self._trials.key}' and tags.`{names.TRIAL_RESULT}` != ''"
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
            self._ranks.remove((result.known_loss, result.number))

    def _among_best(self, result: TrialResult) -> bool:
        """Among itself and those before it: so is every trial that is among the best in the end, wherever that is."""
        mine = (result.known_loss, result.number)
        return sum(rank < mine and rank[1] < result.number for rank in self._ranks) < self._trials.top_n

    def follow(self, result: TrialResult) -> None:
        """The search as it goes, on its own run: each trial's metric and the best so far, by trial number.

        Trials that end within two seconds of each other share a call. A killed search loses no more than those points
        of its picture, which the next one draws again.
        """
        if result.status == "ok":
            metric, now = self._trials.metric, int(time.time() * 1000)
            self._best = result.known_loss if self._best is None else min(self._best, result.known_loss)
            live = {f"{names.BY_TRIAL}{metric.name}": result.known_loss, f"best_{metric.name}": self._best}
            self._points += [Metric(name, loss_of(metric, loss), now, result.number) for name, loss in live.items()]
        if time.monotonic() - self._written > LIVE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was followed so far."""
        points, self._points = self._points, []
        self._client.log_batch(self._search_run, metrics=points)
        self._written = time.monotonic()

    def _write(self, result: TrialResult, tags: Mapping[str, str], files: Mapping[str, bytes] | None = None) -> None:
        client, now = self._client, int(time.time() * 1000)
        begun = now - int(result.seconds * 1000)
        fixed = {
            names.PROJECT: self._project,
            names.PARENT: self._search_run,
            names.RUN_NAME: f"trial {result.number}",
            names.TRIAL: str(result.number),
            names.SEARCH_KEY: self._trials.key,
            names.NOTE: self._description(result, tags.get(names.REUSED)),
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
            self._ranks.append((result.known_loss, result.number))

    def _description(self, result: TrialResult, reused: str | None) -> str:
        """One line of Markdown for the trial's page: what came of it."""
        metric = self._trials.metric
        if result.status == "ok":
            value = f"**{loss_of(metric, result.known_loss):.4f}** {metric.unit}".rstrip()
            outcome = f"{metric.name} {value}, fitted and scored in {result.seconds:.1f} s"
        else:
            outcome = f"failed: {one_line(result.error or '')}"
        known = f", known from [an earlier search](#/experiments/{self._experiment}/runs/{reused})" if reused else ""
        return f"Trial {result.number}: {outcome}{known}."

    def _fill(self, run_id: str, result: TrialResult, files: Mapping[str, bytes], now: int) -> None:
        """All that is known of a trial, and the end of its run."""
        client, ok = self._client, result.status == "ok"
        if files:
            self._log_files(run_id, files)
            self._files_in[result.number] = run_id
        notes = [RunTag("error", result.error)] if result.error else []
        if result.traceback:
            client.log_text(run_id, result.traceback, "traceback.txt")
        # The result comes last and in one call: a trial without it never happened.
        client.log_batch(
            run_id,
            metrics=[
                *(Metric(name, value, now, 0) for name, value in result.logged.items()),
                *(
                    Metric(names.BY_ROUND + name, value, now, number)
                    for name, curve in result.curves.items()
                    for number, value in curve
                ),
            ],
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
        return _kept(run_id, result) if run_id else None


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
