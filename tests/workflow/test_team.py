"""One server, several people: PostgreSQL, a bucket, users with different rights; the chain, the cache, reproduce."""

import pytest

from provenance.record import run_tags
from tests.support.project import SMALL, Result, Workplace
from tests.support.team import Team, team_server

pytestmark = pytest.mark.slow
NAME, EXPERIMENT = "nyc-taxi-duration-sample", "trips"
PARAMS = {**SMALL, "top_n": "1"}  # each model is some fifty files, one request each


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A server with ada, who makes the experiment, bob, who may write to it, and rita, who may read."""
    with team_server(tmp_path_factory.mktemp("server")) as server:
        for user in ("ada", "bob", "rita"):
            server.add(user)
        yield server


@pytest.fixture(scope="module")
def said() -> list[tuple[str, Result]]:
    """What every `mlflow run` of this file printed."""
    return []


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def run(team, place, said):
    """`mlflow run` in the name of a user."""

    def start(user: str, entry_point: str, **params) -> Result:
        env = team.variables(user)
        result = place.run(entry_point, env=env, **params)
        said.append((f"{user} {entry_point}", result))
        return result

    return start


@pytest.fixture(scope="module")
def chain(team, run) -> Result:
    """ada's `main`, and afterwards bob's right to write to what she made."""
    result = run("ada", "main", experiment=EXPERIMENT, **PARAMS)
    assert result.exit_code == 0, result.stderr
    with team.acting("admin") as client:
        team.grant("bob", "experiment", client.get_experiment_by_name(EXPERIMENT).experiment_id, "EDIT")
    team.grant("bob", "registered_model", NAME, "EDIT")
    return result


def steps_of(team: Team, run_id: str) -> dict[str, str]:
    """Step name -> id of the run that made what `run_id` (a main) has."""
    with team.acting("admin") as client:
        tags = client.get_run(run_id).data.tags
    return run_tags.steps(tags)


def versions(team: Team) -> list[str]:
    with team.acting("admin") as client:
        return sorted(version.version for version in client.search_model_versions(f"name = '{NAME}'"))


def test_a_colleague_reuses_all_of_it(run, chain):
    """bob computes nothing that ada has computed, and is told whose it is."""
    result = run("bob", "main", experiment=EXPERIMENT, **PARAMS)
    assert result.exit_code == 0, result.stderr
    for step in ("preprocess", "train", "hpo", "register"):
        assert f"{step}: reused run " in result.stderr


def test_a_colleague_reproduces_it_bit_for_bit(team, run, chain):
    """bob takes ada's training run by its id and gets the same bytes from the server's own artifacts."""
    train = steps_of(team, chain.run_id)["train"]
    result = run("bob", "reproduce", experiment=EXPERIMENT, run_id=train, env_manager="local", patch="true")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "identical" in result.stdout


def test_a_colleague_registers_a_better_one(team, run, chain):
    """bob's longer search goes on from ada's trials; what he registers is a version of the same model."""
    before = versions(team)
    result = run("bob", "register", experiment=EXPERIMENT, **{**PARAMS, "max_evals": "6"})
    assert result.exit_code == 0, result.stderr
    assert "4 trials of earlier searches taken up" in result.stderr
    assert len(versions(team)) == len(before) + 1


def test_a_reader_runs_but_cannot_register(team, run, chain):
    """rita's own experiment takes her runs; the team's model does not take her version, and she is told so."""
    before, search = versions(team), steps_of(team, chain.run_id)["hpo"]
    result = run("rita", "register", experiment="of rita", search=search, reuse="false")
    assert result.exit_code == 1
    assert "Permission denied" in result.errors()
    assert "Traceback" not in result.errors()
    assert versions(team) == before
    with team.acting("admin") as client:
        assert client.get_model_version_by_alias(NAME, "champion").version in before
        experiment = client.get_experiment_by_name("of rita").experiment_id
        assert [found.info.status for found in client.search_runs([experiment])] == ["FAILED"]


def test_a_reader_cannot_write_to_the_teams_experiment(team, run, chain):
    """Not even a run is made in the name of somebody who may only read."""
    with team.acting("admin") as client:
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        before = len(client.search_runs([experiment], max_results=1000))
        result = run("rita", "preprocess", experiment=EXPERIMENT, **PARAMS)
        assert result.exit_code == 1
        assert len(client.search_runs([experiment], max_results=1000)) == before


def test_a_wrong_password_is_one_clear_error(team, place):
    """Said by the launcher, before any step; no word of the password."""
    env = team.variables("ada") | {"MLFLOW_TRACKING_PASSWORD": "not-hers"}
    result = place.run("preprocess", env=env, experiment=EXPERIMENT, **PARAMS)
    assert result.exit_code == 1
    assert "not-hers" not in result.stdout + result.stderr


def test_no_password_is_left_anywhere(team, place, said, chain):
    """Not in a row of the database, an object of the bucket, a line of output, the server's log or a file here."""
    kept = list(team.everything_kept())
    assert len(kept) > 50
    kept += [(who, (result.stdout + result.stderr).encode()) for who, result in said]
    kept += [(str(path), path.read_bytes()) for path in place.folder.rglob("*") if path.is_file()]
    kept += [(path.name, path.read_bytes()) for path in team.folder.glob("*.log")]
    found = [(name, where) for where, content in kept for name, word in team.secrets.words.items()
             if word.encode() in content]  # fmt: skip
    assert found == []
