"""`register` killed between version, alias and decision: the next run of the same key completes what was left."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.registry import promotions as versions
from provenance.reuse import heartbeat
from provenance.signing.signing_key import VARIABLE
from steps.register import register
from tests.support.project import workplace
from tests.support.signing_keys import private_key
from tests.support.step_chain import SEARCH, Chain

NAME = "nyc-taxi-duration-sample"
# In the order in which a register run makes them.
WRITES = (
    "update_registered_model", "set_model_version_tag", "update_model_version", "set_registered_model_tag",
    "set_registered_model_alias",
)  # fmt: skip


class Killed(BaseException):
    """The end of a process: nothing catches it, as nothing catches a SIGKILL."""


@pytest.fixture(scope="module", autouse=True)
def own_registry() -> Iterator[None]:
    """MLflow keeps the registry that `point` names for the whole process."""
    tracking = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(tracking)
    mlflow.set_registry_uri(None)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_store) -> Iterator[Path]:
    """A store with a search, of which nothing is registered yet."""
    place = workplace(tmp_path_factory.mktemp("unfinished"), migrated_store)
    with pytest.MonkeyPatch.context() as patch:
        point(place.store, patch)
        chain = Chain(place.client, "0")
        for step in ("preprocess", "hpo"):
            assert chain.run(step).exit_code == 0
        yield place.folder / "mlflow.db"


def point(uri: str, patch: pytest.MonkeyPatch) -> None:
    """As `mlflow run` does for its steps."""
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    patch.delenv("MLFLOW_RUN_ID", raising=False)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


@pytest.fixture
def chain(searched, tmp_path, monkeypatch) -> Chain:
    shutil.copy(searched, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    point(uri, monkeypatch)
    return Chain(MlflowClient(uri, registry_uri=uri), "0")


def kill_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, after: bool) -> list[str]:
    """Have the process end at call `number` of the client's method `name`, before or after it does its work.

    Gives the calls of WRITES until then.
    """
    calls: list[str] = []
    for each in WRITES:
        called = getattr(MlflowClient, each)

        def counted(*args, _called=called, _name=each, **kwargs):
            calls.append(_name)
            here = _name == name and calls.count(name) == number
            if here and not after:
                raise Killed
            result = _called(*args, **kwargs)
            if here:
                raise Killed
            return result

        monkeypatch.setattr(MlflowClient, each, counted)
    return calls


def killed(chain: Chain, monkeypatch: pytest.MonkeyPatch, name: str, number: int = 1, after: bool = True) -> None:
    """A register run that ends there."""
    with monkeypatch.context() as patch:
        calls = kill_at(patch, name, number, after)
        with pytest.raises(Killed):
            register.main([word for key, value in SEARCH.items() for word in (f"--{key.replace('_', '-')}", value)],
                          standalone_mode=False)  # fmt: skip
        assert calls.count(name) == number
    # Python ended the run on its way out; a SIGKILL leaves it as it was, with a process that is no more.
    [run] = chain.client.search_runs(["0"], f"tags.`{names.STEP}` = 'register'", max_results=1)
    chain.client.update_run(run.info.run_id, status="RUNNING")
    chain.client.set_tag(run.info.run_id, names.PROCESS, "999999999@1")


def holder(client: MlflowClient, alias: str) -> str | None:
    number = dict(client.get_registered_model(NAME).aliases).get(alias)
    return number and str(number)


def no_alias_is_silent(client: MlflowClient) -> None:
    """Whoever holds an alias has a card and a decision."""
    for alias in (names.CHAMPION, names.CANDIDATE):
        if number := holder(client, alias):
            version = client.get_model_version(NAME, number)
            assert "RMSE" in version.description
            assert version.tags[names.DECISION] == "champion"
            assert version.tags[names.REASON] == "there was no champion yet"


def is_whole(chain: Chain) -> None:
    """One version, with both aliases, its decision, its card, one line of history; found again by the next run."""
    client = chain.client
    again = chain.run("register")
    assert again.exit_code == 0, (again.stderr, again.exc_info)
    [version] = client.search_model_versions(f"name = '{NAME}'")
    assert holder(client, names.CHAMPION) == holder(client, names.CANDIDATE) == str(version.version)
    no_alias_is_silent(client)
    assert version.tags["run_id"] in again.output
    assert names.PROMOTED_AT in version.tags
    assert [(entry.version, entry.over) for entry in versions.history(client, NAME)][-1] == (str(version.version), None)
    assert "reused run" in chain.run("register").stderr


POINTS = {
    "the version made, nothing said of it": ("update_registered_model", 1, False),
    "its decision half written": ("set_model_version_tag", 1, True),
    "its card not written": ("update_model_version", 1, False),
    "its promotion in the history alone": ("set_registered_model_tag", 1, True),
    "champion, and nothing else": ("set_registered_model_alias", 1, True),
    "champion, no candidate": ("set_registered_model_alias", 2, False),
    "all but the run's own record": ("set_registered_model_alias", 2, True),
}


FAST = "champion, and nothing else"


@pytest.mark.parametrize(
    "where", [FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in POINTS if name != FAST)]
)
def test_a_version_whose_run_was_killed_is_completed_by_the_next(where, chain, monkeypatch):
    """It is the same version then, not one beside it."""
    killed(chain, monkeypatch, *POINTS[where])
    no_alias_is_silent(chain.client)
    is_whole(chain)


@pytest.mark.slow
def test_a_version_whose_model_was_altered_or_lost_since_is_deleted(chain, monkeypatch):
    """Its bytes are not those that the same run makes again."""
    killed(chain, monkeypatch, "update_model_version", 1, False)
    with open_artifact(f"models:/{NAME}/1") as folder:
        (folder / "code" / "taxi" / "models" / "predictor.py").write_text("print('pwned')\n")
    result = chain.run("register")
    assert result.exit_code == 0, result.stderr
    assert f"deleting version 1 of {NAME}, whose run ended before it was done" in result.stderr
    assert [version.version for version in chain.client.search_model_versions(f"name = '{NAME}'")] == [2]
    assert holder(chain.client, names.CHAMPION) == "2"
    no_alias_is_silent(chain.client)


@pytest.mark.slow
def test_who_signs_completes_no_version_of_another_run(chain, monkeypatch, tmp_path):
    """Its MLmodel is in no digest, differs from run to run, and would be signed as it stands."""
    killed(chain, monkeypatch, "update_model_version", 1, False)
    monkeypatch.setenv(VARIABLE, str(private_key(tmp_path, "ada")))
    result = chain.run("register")
    assert result.exit_code == 0, result.stderr
    assert f"deleting version 1 of {NAME}, whose run ended before it was done" in result.stderr
    assert holder(chain.client, names.CHAMPION) == "2"


@pytest.mark.slow
def test_the_version_of_a_run_that_is_still_at_work_is_left_alone(chain, monkeypatch):
    """Only the dead need help."""
    killed(chain, monkeypatch, "update_model_version", 1, False)
    version = chain.client.get_model_version(NAME, "1")
    chain.client.set_tag(version.tags["run_id"], names.PROCESS, heartbeat.process_name(os.getpid()))
    project = chain.client.get_run(version.tags["run_id"]).data.tags[names.PROJECT]
    assert versions.unfinished(chain.client, NAME, version.tags[names.KEY], project) == []


def test_a_version_that_is_recorded_while_it_is_looked_at_is_left_alone(client, monkeypatch):
    """Its run was at work, and had recorded the version and ended when its process was looked for."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    client.create_registered_model("recorded")
    run_id = client.create_run(experiment, tags={names.PROJECT: "ours"}).info.run_id
    model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.finalize_logged_model(model.model_id, "READY")
    client.create_model_version("recorded", f"models:/{model.model_id}", tags={names.KEY: "k", "run_id": run_id})

    def ended_by_now(client, run, now):
        client.set_tag(run_id, names.OUTPUTS, "a" * 64)
        client.set_terminated(run_id)
        return True

    monkeypatch.setattr(heartbeat, "is_dead", ended_by_now)
    assert versions.unfinished(client, "recorded", "k", "ours") == []


def test_the_version_of_another_projects_run_is_left_alone(client):
    """It says our key, and its run is dead: whose it is, its run says."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    client.create_registered_model("m")
    numbers = {}
    for project in ("ours", "a fork's"):
        run_id = client.create_run(experiment, tags={names.PROJECT: project}).info.run_id
        client.set_terminated(run_id, "KILLED")
        model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
        client.finalize_logged_model(model.model_id, "READY")
        tags = {names.KEY: "k", "run_id": run_id}
        version = client.create_model_version("m", f"models:/{model.model_id}", tags=tags)
        numbers[project] = version.version
    assert [one.version for one in versions.unfinished(client, "m", "k", "ours")] == [numbers["ours"]]
