"""Trials as nested runs. Each is written when it ends, and a later search with the same key finds it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact
from provenance.record.digest import digest_json
from provenance.record.lineage import Lineage
from provenance.record.validation import one_line
from provenance.signing.envelope import SignatureError
from provenance.signing.signatures import RunSigner, Signatures
from provenance.store.paging import every
from runtime.progress import number_of
from search import trial
from search.trial import TrialResult, files_digest, loss_of

LIVE_SECONDS = 2.0  # the least time between two writes of a search's progress


@dataclass(frozen=True)
class Trials:
    """What the trials of one search have in common.

    key: the digest of what their results depend on (`search_key`).
    top_n: how many of the best trials keep their model.
    metric: the metric by which they are compared.
    verify: ``verify(result, files)`` tells whether the files are a model that has the scores in the result. The files
        may come from a stranger.
    """

    key: str
    top_n: int
    metric: trial.Metric
    verify: Callable[[TrialResult, dict[str, bytes]], bool]


def search_key(lineage: Lineage, ends: Collection[str]) -> str:
    """The digest of what the result of a trial depends on: the key of the search without the parameters `ends`.

    `ends` are the parameters that only limit the number of trials or say what is kept of them.
    """
    components = lineage.components()
    params = {name: value for name, value in lineage.params.items() if name not in ends}
    return digest_json({**components, "params": params})


@dataclass(frozen=True)
class Found:
    """A run with the result of a trial."""

    run_id: str
    result: TrialResult

    def rank(self) -> tuple[float, int]:
        """(loss, number): the order from the best trial to the worst."""
        return self.result.known_loss, self.result.number


class TrialRuns:
    """The trials of one search, each a nested run of the search's run.

    It also finds the trials of earlier searches. Use it in a ``with`` statement: its end writes the last points of the
    search's progress.

    Parameters
    ----------
    client : MlflowClient
        Client of the tracking store.
    experiment_id : str
        The experiment of the search's run.
    search_run_id : str
        The search's run.
    trials : Trials
        What the trials have in common.
    project : str
        Identity of the project (`Session.project`), written to each trial's run.
    signer : RunSigner, optional
        Signs the results of the trials that run here.

    Attributes
    ----------
    runs : dict of int to str
        Trial number to the id of its nested run.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, search_run_id: str, trials: Trials, project: str,
                 signer: RunSigner | None = None):  # fmt: skip
        self._client, self._experiment, self._search_run = client, experiment_id, search_run_id
        self._trials, self._project, self._signer = trials, project, signer
        self.runs: dict[int, str] = {}  # trial number -> its nested run in this search
        self._files_in: dict[int, str] = {}  # trial number -> the run that holds its estimator files
        self._ranks: list[tuple[float, int]] = []  # (loss, number) of the written trials, not sorted
        self._best: float | None = None  # the lowest loss among the trials given to `follow`
        self._points: list[Metric] = []  # points of the search's progress that are not written yet
        self._written = time.monotonic()  # time of the last write of such points

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*[MlflowException] if error else []):  # the user must see the first error
            self.flush()

    def known(
        self,
        max_evals: int,
        trusted: Collection[str],
        own: Collection[str],
        say: Callable[[str], None],
        signatures: Signatures | None = None,
    ) -> dict[int, TrialResult]:
        """Find finished trials of searches with this key, also of killed ones, and link each in a nested run here.

        A trial that could be among the best is taken only if its model was kept and has the recorded scores. Otherwise
        anyone who may write a tag could let a trial win. The model of another trial is not checked if its run is in the
        experiments `own`, so that a search continues after a crash without scoring all models again.

        Parameters
        ----------
        max_evals : int
            Number of trials of this search. Trials with a higher number are not taken.
        trusted : collection of str
            Ids of the experiments from which trials are taken.
        own : collection of str
            Ids of the experiments to which only this user or the team writes.
        say : callable
            ``say(line)`` prints why a trial is not taken.
        signatures : Signatures, optional
            If it is given, only trials are taken that a key signed which it trusts.

        Returns
        -------
        dict of int to TrialResult
            Trial number to its result. All other trials must run.
        """
        found: dict[int, list[Found]] = {}
        sound: set[str] = set()  # runs whose model is what they state
        finished = self._finished(trusted)
        for run in self._signed(finished, signatures, say) if signatures else finished:
            try:
                result = TrialResult.from_json(run.data.tags[names.TRIAL_RESULT])
            except ValueError:
                continue  # it was cut or altered, or has another version: the trial runs again
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
        taken = [runs[0] for _, runs in sorted(found.items()) if runs]
        return {one.result.number: one.result for one in taken if self._take(one, say)}

    def _take(self, one: Found, say: Callable[[str], None]) -> bool:
        """Write the nested run of a known trial. False if its result has names that MLflow refuses: it was altered."""
        number = one.result.number
        try:
            self._write(one.result, {names.REUSED: one.run_id})
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            say(f"trial {number} of run {one.run_id} is not taken: MLflow refuses its result")
            return False
        self._files_in[number] = one.run_id
        return True

    def _leading(self, found: Mapping[int, list[Found]]) -> list[Found]:
        """The trials that would be the candidates if no further trial ran."""
        finished = [runs[0] for runs in found.values() if runs and runs[0].result.status == "ok"]
        return sorted(finished, key=Found.rank)[: self._trials.top_n]

    def _is_sound(self, one: Found) -> bool:
        """Whether the run has the model that its result names, with the recorded scores. False for a failed trial."""
        result, metric = one.result, self._trials.metric
        if result.status != "ok" or metric.name not in result.metrics:
            return False
        if result.loss != loss_of(metric, result.metrics[metric.name]):
            return False
        files = _kept(one.run_id, result)
        return files is not None and self._trials.verify(result, files)

    def _signed(self, runs: Iterable[Run], signatures: Signatures, say: Callable[[str], None]) -> Iterator[Run]:
        """Those of the runs that a trusted key signed. How many others there are is printed, a line for each reason."""
        refused: Counter[str] = Counter()
        for run in runs:
            try:
                signatures.trial(run, self._trials.key)
            except SignatureError as error:
                refused[str(error)] += 1
            else:
                yield run
        for why, count in refused.items():
            say(f"{number_of(count, 'trial')} of earlier searches not taken: {why}")

    def _finished(self, experiments: Collection[str]) -> Iterator[Run]:
        query = f"tags.`{names.SEARCH_KEY}` = '{self._trials.key}' and tags.`{names.TRIAL_RESULT}` != ''"
        oldest_first = ["attributes.start_time ASC"]
        for run in every(self._client.search_runs, list(experiments), query, order_by=oldest_first):
            if run.info.lifecycle_stage == "active" and names.REUSED not in run.data.tags:
                yield run

    def log(self, result: TrialResult) -> None:
        """Write a new result as a nested run.

        The files of its estimator are written only if it is among the best so far. So no candidate is fitted again.

        Parameters
        ----------
        result : TrialResult
            The result of a trial that ran.
        """
        ok = result.status == "ok"
        keep = ok and self._among_best(result)
        self._write(result, {}, files=result.files if keep else {})

    def forget(self, result: TrialResult) -> None:
        """Undo `known` for one trial that does not belong to this search, so that the trial can run.

        Parameters
        ----------
        result : TrialResult
            A result that `known` returned.

        Raises
        ------
        KeyError
            If the trial has no nested run.
        """
        self._client.delete_run(self.runs.pop(result.number))
        self._files_in.pop(result.number, None)
        if result.status == "ok":
            self._ranks.remove((result.known_loss, result.number))

    def _among_best(self, result: TrialResult) -> bool:
        """Whether the trial is among the best of those with a lower or equal number.

        Each trial that is among the best at the end of the search meets this condition, wherever the search ends.
        """
        mine = (result.known_loss, result.number)
        return sum(rank < mine and rank[1] < result.number for rank in self._ranks) < self._trials.top_n

    def follow(self, result: TrialResult) -> None:
        """Log the progress of the search on its run: each trial's metric and the best value so far, by trial number.

        Points are written at most every two seconds. A killed search loses only the last points of these curves, and
        the next search writes them again.

        Parameters
        ----------
        result : TrialResult
            The next result, in the order of trial numbers.
        """
        if result.status == "ok":
            metric, now = self._trials.metric, int(time.time() * 1000)
            self._best = result.known_loss if self._best is None else min(self._best, result.known_loss)
            live = {f"{names.BY_TRIAL}{metric.name}": result.known_loss, f"best_{metric.name}": self._best}
            self._points += [Metric(name, loss_of(metric, loss), now, result.number) for name, loss in live.items()]
        if time.monotonic() - self._written > LIVE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the points that are not written yet."""
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
            with contextlib.suppress(MlflowException):  # if this fails, the next run finds it dead and ends it
                client.set_terminated(run_id, "FAILED")
            raise
        self.runs[result.number] = run_id
        if result.status == "ok":
            self._ranks.append((result.known_loss, result.number))

    def _description(self, result: TrialResult, reused: str | None) -> str:
        """One line of Markdown for the trial's page: its result."""
        metric = self._trials.metric
        if result.status == "ok":
            value = f"**{loss_of(metric, result.known_loss):.4f}** {metric.unit}".rstrip()
            outcome = f"{metric.name} {value}, fitted and scored in {result.seconds:.1f} s"
        else:
            outcome = f"failed: {one_line(result.error or '')}"
        known = f", known from [an earlier search](#/experiments/{self._experiment}/runs/{reused})" if reused else ""
        return f"Trial {result.number}: {outcome}{known}."

    def _fill(self, run_id: str, result: TrialResult, files: Mapping[str, bytes], now: int) -> None:
        """Write all facts of a trial to its run, and end the run."""
        client, ok = self._client, result.status == "ok"
        if files:
            self._log_files(run_id, files)
            self._files_in[result.number] = run_id
        notes = [RunTag(names.ERROR, result.error)] if result.error else []
        if result.traceback:
            client.log_text(run_id, result.traceback, names.TRACEBACK_FILE)
        written = replace(result, traceback=None).to_json()
        if self._signer:
            signature = self._signer.trial(run_id, self._project, self._trials.key, written)
            notes.append(RunTag(names.SIGNATURE, signature))
        # One call writes the result, after the files: a trial without a result is ignored.
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
            tags=[*notes, RunTag(names.TRIAL_RESULT, written)],
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
        """The estimator files of a finished trial.

        Parameters
        ----------
        result : TrialResult
            A result that `known` returned or `log` received.

        Returns
        -------
        dict of str to bytes, or None
            Path in the estimator's folder to content. None if the files were not kept or differ from the record.
        """
        if result.files:
            return dict(result.files)
        run_id = self._files_in.get(result.number)
        return _kept(run_id, result) if run_id else None


def _kept(run_id: str, result: TrialResult) -> dict[str, bytes] | None:
    """The estimator files of trial run `run_id`; None if it has none or their digest differs from that in `result`."""
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
