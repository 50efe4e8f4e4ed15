"""A server with users who may read everything and write to their own: what one leaves behind stops no other."""

import os
import signal
import time

import pytest

from provenance.record import names
from provenance.reuse import heartbeat
from tests.support.project import Result, Workplace
from tests.support.team import Team, team_server

pytestmark = pytest.mark.slow
SMALL = {"source": "sample:2000", "model": "linear", "max_evals": "2", "batch": "1", "top_n": "1"}
SMALL_DATA = {"source": "sample:2000"}


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """ada and bob write, each to an experiment of their own; rita has none but reads."""
    with team_server(tmp_path_factory.mktemp("server")) as server:
        for user in ("ada", "bob", "rita"):
            server.add(user)
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def run(team, place):
    """`mlflow run` in the name of a user, in the experiment of that name; it must succeed."""

    def start(user: str, entry_point: str, **params) -> Result:
        result = place.run(entry_point, env=team.variables(user), experiment=f"of {user}", **params)
        assert result.exit_code == 0, f"{user} {entry_point}: {result.stdout[-2000:]}{result.stderr[-3000:]}"
        assert "Traceback" not in result.stderr
        return result

    return start


def runs_of(team: Team, user: str) -> dict[str, object]:
    with team.acting("admin") as client:
        experiment = client.get_experiment_by_name(f"of {user}")
        found = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    return {run.info.run_id: run for run in found}


@pytest.fixture(scope="module")
def left(team, place) -> dict[str, str]:
    """ada's chain, killed with -9 in the middle of a step: id -> status of her runs."""
    with place.started(place.folder / "log", env=team.variables("ada"), experiment="of ada", **SMALL) as running:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            steps = [run for run in runs_of(team, "ada").values() if run.data.tags.get(names.STEP) in ("train", "hpo")]
            if any(names.PROCESS in run.data.tags and run.info.status == "RUNNING" for run in steps):
                break
            time.sleep(0.2)
        os.killpg(running.pid, signal.SIGKILL)
    found = {run_id: run.info.status for run_id, run in runs_of(team, "ada").items()}
    assert list(found.values()).count("RUNNING") >= 2
    return found


@pytest.fixture(scope="module")
def odd(team, left) -> list[str]:
    """Runs in rita's own experiment that say they are of this project, and say nonsense."""
    project = next(iter(runs_of(team, "ada").values())).data.tags[names.PROJECT]
    host = heartbeat.this_host()
    with team.acting("rita") as client:
        experiment = client.create_experiment("of rita")
        made = []
        for tags in (
            {names.PARENT: "0" * 32},
            {names.PROCESS: "nobody", names.HOST: host, names.HEARTBEAT: "soon"},
            {names.PROCESS: "999999999@1", names.HOST: host, names.HEARTBEAT: "0"},
            {names.PROCESS: "1@1", names.HOST: "x", names.HEARTBEAT: "NaN", names.TICKET: "NaN", names.KEY: "k"},
        ):
            marks = {names.PROJECT: project, names.ENTRY_POINT: "train", names.STEP: "train"}
            made.append(client.create_run(experiment, tags={**marks, **tags}).info.run_id)
        client.set_tag(made[0], names.PARENT, made[0])
    return made


def test_a_colleagues_steps_all_work(team, run, left, odd, tmp_path):
    """bob may not end what is left of ada's chain: it stays as it is, and none of his steps fails for it."""
    main = run("bob", "main", **SMALL)
    run("bob", "plan", **SMALL)
    run("bob", "hpo", **{**SMALL, "max_evals": "3"})
    run("bob", "compare", a=main.run_id, b=main.run_id)
    run("bob", "bundle", run_id=main.run_id, out=str(tmp_path / "run.zip"))
    run("bob", "drift", model="models:/nyc-taxi-duration-sample/1", source="sample:2000", months="2023-04")
    assert {run_id: run.info.status for run_id, run in runs_of(team, "ada").items()} == left


def test_a_readers_steps_all_work(run, team, left, odd):
    """rita sees the same, and ends her own dead run."""
    run("rita", "plan", **SMALL)
    run("rita", "preprocess", **SMALL_DATA)
    assert {run_id: run.info.status for run_id, run in runs_of(team, "ada").items()} == left
    statuses = {run_id: run.info.status for run_id, run in runs_of(team, "rita").items()}
    assert [statuses[run_id] for run_id in odd] == ["RUNNING", "RUNNING", "KILLED", "RUNNING"]


def test_gc_of_one_touches_nothing_of_the_other(run, team, left):
    """Not a run, a tag or a file, although all are of the same project and old enough."""
    before = {run_id: run.to_dictionary() for run_id, run in runs_of(team, "ada").items()}
    assert "experiment of bob, user " in run("bob", "gc", keep_days="0").stdout
    assert "runs that this user may not delete" in run("bob", "gc", keep_days="0", delete="true").stdout
    assert {run_id: run.to_dictionary() for run_id, run in runs_of(team, "ada").items()} == before
    with team.acting("admin") as client:
        for run_id, run_before in before.items():
            if names.OUTPUTS in run_before["data"]["tags"]:
                assert client.list_artifacts(run_id)


def test_who_may_ends_what_was_left(run, team, left):
    """ada's next step marks what the killed chain left, as she has always had it."""
    run("ada", "plan", **SMALL)
    run("ada", "preprocess", **SMALL_DATA)
    statuses = {run_id: run.info.status for run_id, run in runs_of(team, "ada").items()}
    assert "RUNNING" not in {statuses[run_id] for run_id in left}
