"""One boosting fit shared by several members, processes here or workers of a cluster, each with its share of trips.

XGBoost adds up what they find in their shares. The model depends on how many they are and on nothing else: shares are
cut by number, and sums are taken in the order of the numbers, wherever the members are. It is another model than one
process fits, for bins come from merged summaries, and each member draws a tree's trips from its own share.
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO

from runtime.machine_errors import machine_error
from search.engines.cluster import Cluster
from search.engines.engine import Engine, WorkerDied
from search.engines.error import EngineError
from search.engines.shipping import NO_CODE, Code
from search.trial import DIED, Params, TrialResult, error_line, files_digest, one_thread, saved_files
from taxi.dataset.dataset import DatasetError
from taxi.distributed.tracker import here, on_scheduler
from taxi.models.boosting import BoostingParams
from taxi.models.objective import modules

ATTEMPTS = 3  # of the whole fit: one member that dies ends it for all
WORKERS_SECONDS = 60  # in which a worker that died is replaced


@dataclass(frozen=True)
class Interrupted(TrialResult):
    """The end of a member that died, or of one that could not go on without it."""


@dataclass(frozen=True)
class Member:
    """What each of `size` members does, in the place of a trial: `number` is its share, `params` how to join."""

    uri: str
    manifest_sha256: str
    params: BoostingParams
    seed: int
    size: int
    modules = modules("xgboost")

    def __call__(self, data: None, number: int, params: Params) -> TrialResult:
        from xgboost.core import XGBoostError

        try:
            return self._fit(number, params)
        except XGBoostError as error:  # that a member is gone, which the others only notice
            if machine_error(error):
                raise
            return Interrupted(number, {}, "fail", error=error_line(error))

    def _fit(self, number: int, params: Params) -> TrialResult:
        from xgboost.collective import CommunicatorContext

        from runtime.scratch import scratch_folder
        from taxi.distributed.remote_dataset import on_disk
        from taxi.models.families import FAMILIES

        with (
            _or_engine_error(),
            on_disk(self.uri, self.manifest_sha256) as dataset,
            scratch_folder("bins") as scratch,
            one_thread(),
        ):
            share = (number, self.size)
            train, val = (dataset.split(name, scratch=scratch, share=share) for name in ("train", "val"))
            # XGBoost prints who is which number, and stdout is the step's result.
            with redirect_stdout(StringIO()), CommunicatorContext(**params, dmlc_task_id=f"{number:06d}"):
                estimator = FAMILIES["xgboost"].fit(train, val, self.params, self.seed)
            train.memo.clear()
        files = saved_files(estimator)  # every member has the whole model
        return TrialResult(number, {}, "ok", model_digest=files_digest(files), files={} if number else files)


@contextmanager
def _or_engine_error() -> Iterator[None]:
    """A dataset that a member cannot have is no result, which would be told in a line: its remedy is needed."""
    try:
        yield
    except DatasetError as error:
        raise EngineError(f"a member of the shared fit failed: {error}") from None


def nothing() -> None:
    """What members are given: each opens the dataset itself, for as long as it fits."""


def fit_shared(engine: str, member: Member, code: Code = NO_CODE) -> dict[str, bytes]:
    """The files of the model that `member.size` members fit, on ``local`` or, with `code`, ``dask://host:port``.

    A member that dies ends the fit for all, and all begin again. Raises EngineError, or RuntimeError for members that
    ended with different models.
    """
    with _opened(engine, member, code) as (running, cluster):
        for _ in range(ATTEMPTS):
            results = _attempt(running, cluster, member)
            failures = [result for result in results if result.status != "ok"]
            if not failures:
                if len({result.model_digest for result in results}) != 1:
                    raise RuntimeError(f"{member.size} members of one fit ended with different models")
                return results[0].files
            reasons = [result for result in failures if not isinstance(result, Interrupted)]
            if reasons:
                raise EngineError(f"a member of the shared fit failed: {_first(reasons)}")
    raise EngineError(
        f"the fit shared by {member.size} failed {ATTEMPTS} times: {_first(failures)}\nGive its members more memory."
    )


def _first(failures: list[TrialResult]) -> str:
    """The same text, whichever member failed first."""
    return min(str(result.error) for result in failures)


@contextmanager
def _opened(engine: str, member: Member, code: Code) -> Iterator[tuple[Engine, Cluster | None]]:
    """The engine, and the cluster where it is one."""
    if engine == "local":
        from search.engines.local import LocalEngine

        with LocalEngine(member, nothing, member.size) as local:
            yield local, None
    else:
        from search.engines.dask import DaskEngine

        with DaskEngine(engine, member, nothing, code, member.size) as made:
            yield made, made.cluster


def _attempt(running: Engine, cluster: Cluster | None, member: Member) -> list[TrialResult]:
    """Each member's result. The first that fails ends it for those that wait for it."""
    if cluster:
        _wait_for_workers(cluster, member.size)
    with on_scheduler(cluster, member.size) if cluster else here(member.size) as joining:
        futures = [running.once(number, joining) for number in range(member.size)]
        left = set(futures)
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            if any(future.exception() or future.result().status != "ok" for future in done):
                break
    return [_outcome(future) for future in futures]


def _outcome(future: Future[TrialResult]) -> TrialResult:
    try:
        return future.result()
    except WorkerDied:
        return Interrupted(0, {}, "fail", error=DIED)


def _wait_for_workers(cluster: Cluster, size: int) -> None:
    try:
        with cluster.errors(of_tasks=True):
            cluster.client.wait_for_workers(size, timeout=WORKERS_SECONDS)
    except TimeoutError:
        raise EngineError(
            f"the Dask cluster has {len(cluster.workers())} workers, fewer than the {size} that are to share the fit\n"
            "Start more, or give a smaller fit_workers, which is another model."
        ) from None
