"""A server that refuses, goes, or loses what it is told: one clear error, or none, and a plain re-run is as ever."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
import pytest
from mlflow import MlflowClient

from provenance.record import names
from tests.support.faulty_proxy import Proxy, proxy
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import LAUNCHER, environment, workplace
from tests.support.step_chain import Chain

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Team(Chain):
    """On a server with proxied artifacts, reached by a way on which things happen."""

    way: Proxy


@pytest.fixture(scope="module")
def team(tmp_path_factory, migrated_store) -> Iterator[Team]:
    place = workplace(tmp_path_factory.mktemp("team"), migrated_store, "mlflow-artifacts:/0")
    port, log, patch = free_port(), place.folder / "server.log", pytest.MonkeyPatch()
    before, server = mlflow.get_tracking_uri(), f"http://127.0.0.1:{port}"
    command = [LAUNCHER, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", place.store, "--artifacts-destination", str(place.folder / "kept")]  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.callback(patch.undo)
        stack.callback(mlflow.set_tracking_uri, before)
        variables = environment({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        serving = stack.enter_context(background(command, log, variables, place.folder))
        wait_for_answer(f"{server}/health", log, serving)
        way = stack.enter_context(proxy(server))
        for name, value in {"MLFLOW_TRACKING_URI": way.uri, "PYTHONWARNINGS": "ignore",
                            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}.items():  # fmt: skip
            patch.setenv(name, value)
        mlflow.set_tracking_uri(way.uri)
        made = Team(MlflowClient(way.uri), "0", way)
        yield made


REFUSALS = {403: "right to write", 500: "Its log says why", 507: "room"}


@pytest.mark.parametrize(("step", "status"), [*(("preprocess", status) for status in REFUSALS),
                                              ("train", 507), ("hpo", 500), ("register", 403)])  # fmt: skip
def test_a_store_that_takes_no_artifacts_is_said_and_survived(team, step, status, monkeypatch):
    """Its answer, and what helps; the run has failed, and with the store well again the step is as ever."""
    team.forget(step)
    with monkeypatch.context() as patch:
        patch.setattr(team.way, "fate", lambda method, path: status if method == "PUT" else None)
        said = team.said(team.run(step))
    assert REFUSALS[status] in said, said
    assert not team.client.search_runs(["0"], "attributes.status = 'RUNNING'")
    team.is_as_ever(step, team.run(step))


@pytest.mark.parametrize("step", ["preprocess", "train", "hpo"])
def test_a_server_that_goes_for_good_is_said_and_survived(team, step, monkeypatch):
    """In the middle of the step; its run, of which nobody could be told, is ended by the next run of anybody."""
    team.forget(step)
    begun, middle = len(team.way.seen), {"preprocess": 25, "train": 30, "hpo": 50}[step]

    def gone(method: str, path: str) -> str | None:
        return "lost" if len(team.way.seen) - begun > middle else None

    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # lowered by the step in the end
        patch.setattr(team.way, "fate", gone)
        said = team.said(team.run(step))
    assert "does not answer" in said, said
    for run in team.client.search_runs(["0"], "attributes.status = 'RUNNING'"):
        team.client.set_tag(run.info.run_id, names.PROCESS, "1@1")  # it is this test's process, and that goes on
    team.is_as_ever(step, team.run(step))
    assert not team.client.search_runs(["0"], "attributes.status = 'RUNNING'")


@pytest.mark.parametrize(("step", "fate"), [(step, fate) for step in ("preprocess", "hpo")
                                            for fate in ("lost", "unanswered")]
                                           + [("train", "unanswered"), ("register", "unanswered")])  # fmt: skip
def test_a_request_lost_on_the_way_is_made_again(team, step, fate, monkeypatch):
    """One in eight of them; also when the server had done it already: nothing is there twice that counts.

    But for a run's outputs, which MLflow cannot be told twice: that ends the step, and it is run again.
    """
    team.forget(step)
    luck = random.Random(step + fate)

    def lost(method: str, path: str) -> str | None:
        return fate if luck.random() < 1 / 8 and not path.endswith("/runs/outputs") else None

    with monkeypatch.context() as patch:
        patch.setattr(team.way, "fate", lost)
        result = team.run(step)
    team.is_as_ever(step, result)


@pytest.mark.parametrize(("step", "number"), [("preprocess", 12), ("train", 9), ("hpo", 30)])
def test_half_an_answer_is_said_or_survived(team, step, number, monkeypatch):
    """MLflow asks again where no answer comes, but not where it ends in its middle: the step says so, if it ends."""
    team.forget(step)
    begun, before = len(team.way.seen), running(team)

    with monkeypatch.context() as patch:
        patch.setattr(team.way, "fate", lambda method, path: "cut" if len(team.way.seen) - begun == number else None)
        result = team.run(step)
    assert len(team.way.seen) - begun >= number
    if result.exit_code:
        assert "in the middle of an answer" in team.said(result)
        result = team.run(step)
    team.is_as_ever(step, result)
    assert running(team) <= before  # MLflow makes a run twice when told so again: one nobody's, of another test


def running(team: Team) -> set[str]:
    return {run.info.run_id for run in team.client.search_runs(["0"], "attributes.status = 'RUNNING'")}


@pytest.mark.parametrize(("step", "times"), [("train", 2), ("register", 1)])
def test_a_download_that_breaks_off_is_made_again(team, step, times, monkeypatch):
    """Every file that the step fetches, so many times: of a dataset, of trials, of models."""
    team.forget(step)
    cut = Counter()

    def fate(method: str, path: str) -> str | None:
        if method != "GET" or "/mlflow-artifacts/artifacts/" not in path or cut[path] == times:
            return None
        cut[path] += 1
        return "cut"

    with monkeypatch.context() as patch:
        patch.setattr(team.way, "fate", fate)
        result = team.run(step)
    assert len(cut) > 3
    team.is_as_ever(step, result)
