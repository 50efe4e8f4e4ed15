"""On a server with users: an outsider with an experiment of his own, whose records lead and look however he likes."""

import contextlib
import json
from dataclasses import replace

import pytest
from mlflow.exceptions import MlflowException

from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact, problems
from provenance.record.lineage import Output
from provenance.reuse import cache
from tests.support.foreign_server import foreign_server
from tests.support.project import SMALL, Result, Workplace
from tests.support.team import team_server

pytestmark = pytest.mark.slow
EXPERIMENT = "trips"
PARAMS = {**SMALL, "max_evals": "3", "top_n": "1", "model": "linear"}
EVIL_PATH = "/api/2.0/mlflow-artifacts/artifacts/taxi"


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A server with ada, who makes the experiment, and oscar, who may read it and makes one of his own."""
    with team_server(tmp_path_factory.mktemp("server")) as server:
        for user in ("ada", "oscar"):
            server.add(user)
        yield server


@pytest.fixture(scope="module")
def run(team, tmp_path_factory):
    """`mlflow run` in the name of a user, in an experiment."""
    place = Workplace(tmp_path_factory.mktemp("place"))

    def start(user: str, entry_point: str, experiment: str = EXPERIMENT, **params) -> Result:
        return place.run(entry_point, env=team.variables(user), experiment=experiment, **params)

    return start


@pytest.fixture(scope="module")
def search(team, run) -> str:
    """ada's hpo run, on a dataset of hers."""
    result = run("ada", "hpo", **PARAMS)
    assert result.exit_code == 0, result.stderr
    return result.run_id


def test_an_outsiders_record_sends_nobody_to_another_server(team, run, search):
    """A whole record, ada's own but for the place of its dataset: nothing is fetched there, and no password sent."""
    with foreign_server() as evil:
        with team.acting("oscar") as client:
            lineage = cache.read(search)
            elsewhere = replace(lineage, inputs=(replace(lineage.inputs[0], uri=evil.uri + EVIL_PATH),))
            theirs = client.create_run(client.create_experiment("oscar's records")).info.run_id
            with open_artifact(f"runs:/{search}/{names.SEARCH}") as folder:
                client.log_artifacts(theirs, str(folder), names.SEARCH)
            place = f"runs:/{theirs}/{names.SEARCH}"
            outputs = tuple(replace(output, uri=place) if output.name == names.SEARCH else output
                            for output in elsewhere.outputs)  # fmt: skip
            elsewhere = replace(elsewhere, outputs=outputs)
            client.log_text(theirs, elsewhere.to_json(), names.LINEAGE_FILE)
            for name, value in (elsewhere.tags() | {names.OUTPUTS: elsewhere.outputs_digest()}).items():
                client.set_tag(theirs, name, value)
            client.set_terminated(theirs)
        repeat = {"run_id": theirs, "env_manager": "local", "patch": "true"}
        for entry_point, params in (("register", {"search": theirs}), ("reproduce", repeat)):
            result = run("ada", entry_point, **params)
            assert result.exit_code != 0
            assert evil.uri in result.errors()
            assert "Traceback" not in result.errors()
        assert evil.asked == []


def test_an_outsiders_experiment_sends_nobody_to_another_server(team, search):
    """Where the server lets its artifacts lie anywhere; some versions of MLflow's do."""
    with foreign_server() as evil:
        places = [evil.uri + EVIL_PATH, evil.uri.replace("http:", "mlflow-artifacts:") + "/taxi"]
        made = []
        with team.acting("oscar") as client:
            for place in places:
                with contextlib.suppress(MlflowException):
                    made.append(client.create_run(client.create_experiment(place, place)).info.run_id)
        with team.acting("ada"):
            for uri in [*places, *(f"runs:/{run_id}/dataset" for run_id in made)]:
                assert problems(Output("dataset", uri, "a" * 64, {}))
                with pytest.raises(ArtifactError), open_artifact(uri):
                    pass
        assert evil.asked == []


def test_a_huge_record_of_an_outsider_is_refused_by_its_size(team, run, search):
    """It is not fetched."""
    with team.acting("oscar") as client:
        experiment = client.create_experiment("oscar's large records")
        theirs = client.create_run(experiment).info.run_id
        client.log_text(theirs, " " * 30_000_000, names.LINEAGE_FILE)
        client.set_tag(theirs, names.OUTPUTS, "a" * 64)
        client.set_terminated(theirs)
    result = run("ada", "register", search=theirs)
    assert result.exit_code != 0
    assert "30,000,000 bytes" in result.errors()


def planned(result: Result) -> dict[str, dict]:
    """The rows of a plan by step; `mlflow run` adds links to stdout."""
    text = result.stdout
    return {row["step"]: row for row in json.loads(text[text.index("[") : text.rindex("]") + 1])}


def test_an_outsiders_chain_is_not_taken_unless_he_is_named(team, run, search):
    """A finished chain of the very keys, in an experiment of his own: ada computes hers, and is not told of his."""
    theirs = run("oscar", "hpo", experiment="oscar's", **{**PARAMS, "seed": "7"})
    assert theirs.exit_code == 0, theirs.stderr
    mine = run("ada", "plan", json="true", **{**PARAMS, "seed": "7"})
    rows = planned(mine)
    assert rows["preprocess"]["reuse"] and not rows["hpo"]["reuse"]
    with team.acting("ada") as client:
        user = client.get_run(theirs.run_id).data.tags[names.USER]
    named = run("ada", "plan", json="true", trust="oscar's", **{**PARAMS, "seed": "7"})
    rows = {
        row["step"]: row for row in json.loads(named.stdout[named.stdout.index("[") : named.stdout.rindex("]") + 1])
    }
    assert (rows["hpo"]["run_id"], rows["hpo"]["user"]) == (theirs.run_id, user)
    unknown = run("ada", "plan", trust="nobody's", **PARAMS)
    assert unknown.exit_code != 0
    assert 'there is no experiment "nobody\'s"' in unknown.errors()


def test_an_outsiders_trial_of_the_very_search_is_not_taken(team, run, search):
    """val_rmse 0.5 of any experiment entered every search of that key; named, it is scored again and refused."""
    with team.acting("oscar") as client:
        key = client.get_run(search).data.tags[names.SEARCH_KEY]
        found = client.search_runs([client.get_run(search).info.experiment_id], f"tags.`{names.SEARCH_KEY}` = '{key}'")
        sound = next(trial for trial in found if trial.data.tags.get(names.TRIAL) == "0")
        forged = json.loads(sound.data.tags[names.TRIAL_RESULT])
        forged |= {"number": 3, "loss": 0.5, "metrics": {**forged["metrics"], "val_rmse": 0.5}}
        experiment = client.create_experiment("oscar's trials")
        tags = {names.SEARCH_KEY: key, names.TRIAL: "3", names.TRIAL_RESULT: json.dumps(forged)}
        theirs = client.create_run(experiment, tags=tags).info.run_id
        client.set_terminated(theirs)
    for trust in ("experiment", "oscar's trials"):
        result = run("ada", "hpo", trust=trust, **{**PARAMS, "max_evals": "4" if trust == "experiment" else "5"})
        assert result.exit_code == 0, result.stderr
        with team.acting("ada") as client:
            assert client.get_run(result.run_id).data.metrics["val_rmse"] > 1
