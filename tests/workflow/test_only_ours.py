"""Only what is ours is touched, and nobody else's run stops one of ours: one kind of harm at a time."""

import ast
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException, RestException

from provenance.pipeline import launch as chain
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.environment import Environment, LockError
from provenance.record.lineage import Lineage
from provenance.registry import promotions
from provenance.reuse import cache, garbage, heartbeat, revoke, single_flight
from provenance.store import paging, project_identity
from steps.pipeline import PIPELINE
from tests.support import records, repository
from tests.support.in_process import command
from tests.support.malformed_runs import TEXTS, VALUES
from tests.support.project import ROOT
from tests.support.records import making, reading

OURS, OTHERS = "taxi of example.org/taxi", "taxi of example.org/fork"
DAY = 24 * 3600 * 1000
DEAD = {names.HOST: heartbeat.this_host(), names.PROCESS: "999999999@1", names.HEARTBEAT: "0"}


@pytest.fixture
def experiment(client) -> str:
    return client.get_experiment_by_name("trips").experiment_id


@pytest.fixture
def made(client, experiment):
    """A function that makes a run with these tags, so many days old; its id."""

    def make(status: str = "RUNNING", days: float = 0, project: str | None = OURS, **tags: str) -> str:
        then = int(time.time() * 1000 - days * DAY)
        marks = {names.PROJECT: project} if project else {}
        run_id = client.create_run(experiment, start_time=then, tags={**marks, **tags}).info.run_id
        if status != "RUNNING":
            client.set_terminated(run_id, status, end_time=then)
        return run_id

    return make


def status(client, run_id: str) -> str:
    return client.get_run(run_id).info.status


# Whose a run is


def test_every_clone_of_a_repository_is_one_project_and_a_fork_is_another(tmp_path):
    """However its remote is spelled; without one it is the folder on this machine. A subfolder is a project, too."""
    (tmp_path / "MLproject").write_text("name: taxi\n")
    repository.commit(tmp_path)

    def at(url: str, folder: Path = tmp_path) -> str:
        subprocess.run(["git", "remote", "remove", "origin"], cwd=tmp_path, capture_output=True, check=False)
        if url:
            subprocess.run(["git", "remote", "add", "origin", url], cwd=tmp_path, check=True)
        project_identity.identity.cache_clear()
        return project_identity.identity(folder)

    one = at("https://user:secret@example.org/team/taxi.git")
    assert one == at("git@example.org:team/taxi") == "taxi of example.org/team/taxi"
    assert at("https://example.org/fork/taxi") != one
    assert at("") != one
    assert str(tmp_path) in at("")
    (tmp_path / "wine").mkdir()
    (tmp_path / "wine" / "MLproject").write_text("name: taxi\n")
    repository.commit(tmp_path)
    assert at("git@example.org:team/taxi", tmp_path / "wine") == one + " folder wine"
    assert "'" not in at("https://example.org/o'neill/taxi")


# Ending


def test_another_projects_runs_are_not_ended_whatever_they_look_like(client, experiment, made):
    """MLflow writes its tags on every project's runs: a launch of two hours ago, and a fork's dead step, stay."""
    launched = made(project=None, days=2 / 24, **{names.ENTRY_POINT: "train"})
    theirs = [made(project=project, **DEAD) for project in (None, OTHERS)]
    below = made(project=OTHERS, **{names.PARENT: theirs[0], names.TRIAL: "0"})
    assert heartbeat.mark_dead_runs(client, [experiment], OURS) == []
    assert {status(client, run_id) for run_id in (launched, *theirs, below)} == {"RUNNING"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_tag_that_says_nonsense_ends_nobody_and_stops_nobody(text, client, experiment, made):
    """Process, host, beat, ticket and parent of a run that says it is ours."""
    queue = {names.KEY: "k", names.TICKET: text}
    elsewhere = {names.HOST: "elsewhere", names.PROCESS: "1@1", names.HEARTBEAT: f"{time.time():.0f}"}
    made(**{**DEAD, names.PROCESS: text, names.HEARTBEAT: text})
    made(**{**elsewhere, names.HEARTBEAT: text})
    made(**{**elsewhere, names.HOST: text})
    made(**{names.PARENT: text, names.TRIAL: text})
    if not (text.isdigit() and len(text) < 12):
        made(**elsewhere, **queue)
    dead = made(**DEAD)
    mine = made(**elsewhere)
    assert dead in heartbeat.mark_dead_runs(client, [experiment], OURS)
    single_flight.wait_for_turn(client, [experiment], mine, "k", pytest.fail, OURS)


def test_parents_that_are_their_own_or_unknown_prove_nothing(client, experiment, made):
    """A run below itself, two below each other, and one below nothing."""
    itself, a, b = made(), made(), made()
    client.set_tag(itself, names.PARENT, itself)
    client.set_tag(a, names.PARENT, b)
    client.set_tag(b, names.PARENT, a)
    unknown = made(**{names.PARENT: "0" * 32})
    assert heartbeat.mark_dead_runs(client, [experiment], OURS) == []
    assert {status(client, run_id) for run_id in (itself, a, b, unknown)} == {"RUNNING"}


def refusing(client, *methods: str):
    """The client, where the server refuses these."""

    def refused(*given, **named):
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})

    changed = SimpleNamespace(**{name: getattr(client, name) for name in dir(client) if not name.startswith("_")})
    for name in methods:
        setattr(changed, name, refused)
    return changed


def test_what_may_not_be_ended_is_passed_over(client, experiment, made):
    """Another user's dead run of this project: nothing fails for it, and the next one is looked at."""
    dead = made(**DEAD)
    assert heartbeat.mark_dead_runs(refusing(client, "set_terminated"), [experiment], OURS) == []
    assert heartbeat.mark_dead_runs(refusing(client, "search_runs"), [experiment], OURS) == []
    assert heartbeat.mark_dead_runs(client, [experiment], OURS) == [dead]


def test_a_check_takes_back_only_its_own_childrens_outputs(client, experiment, made):
    """A run of somebody else that says it is below ours keeps its tags; so does a refusal no harm."""
    check = made(**DEAD, **{names.ENTRY_POINT: "reproduce"})
    tags = {names.PARENT: check, names.ENTRY_POINT: "train", names.OUTPUTS: "a" * 64}
    mine, theirs, nobodys = (made("FINISHED", project=project, **tags) for project in (OURS, OTHERS, None))
    trial = made("FINISHED", project=OTHERS, **{names.PARENT: mine, names.TRIAL_RESULT: "{}"})
    revoke.revoke_below(refusing(client, "delete_tag"), client.get_run(check), OURS)
    heartbeat.mark_dead_runs(client, [experiment], OURS)
    assert names.OUTPUTS not in client.get_run(mine).data.tags
    assert all(names.OUTPUTS in client.get_run(run_id).data.tags for run_id in (theirs, nobodys))
    assert names.TRIAL_RESULT in client.get_run(trial).data.tags


def test_only_the_run_that_was_launched_is_ended(client, experiment, made, monkeypatch):
    """Its id is known however the launch ends; another that says it is below the same run goes on."""
    parent = client.get_run(made())
    others = []

    def launch(*given, run_id: str, **named) -> None:
        others.append(made(project=None, **{names.PARENT: parent.info.run_id, names.ENTRY_POINT: "train"}))
        raise MlflowException("the environment cannot be built")

    monkeypatch.setattr("mlflow.projects.run", launch)
    session = Session(PIPELINE, client, parent, quiet=True)
    run_id, error = chain.started(session, ROOT, "train", {"seed": "7"}, "local")
    run = client.get_run(run_id)
    assert "cannot be built" in error
    assert run.info.status == "FAILED"
    assert run.data.tags[names.PROJECT] == OURS
    assert run.data.params["seed"] == "7"
    assert status(client, others[0]) == "RUNNING"


# Waiting


def test_only_this_projects_runs_are_waited_for(client, experiment, made):
    """Another's with our key, the first ticket and a beat that never stops would keep everybody waiting."""
    first = {
        names.KEY: "k",
        names.TICKET: "0",
        names.HOST: "x",
        names.PROCESS: "1@1",
        names.HEARTBEAT: str(time.time()),
    }
    made(project=OTHERS, **first)
    made(project=None, **first)
    elsewhere = client.create_experiment("of somebody else")
    client.create_run(elsewhere, tags={names.PROJECT: OURS, **first})
    single_flight.wait_for_turn(client, [experiment], made(), "k", pytest.fail, OURS)


def test_a_stranger_at_the_gate_is_waited_for_only_for_a_while(client, experiment, made, monkeypatch):
    """Of experiments that are believed, for as long as it takes; elsewhere a beat that never stops is no reason."""
    monkeypatch.setattr(single_flight, "STRANGER_SECONDS", 0.5)
    elsewhere = client.create_experiment("of somebody else")
    process = {names.HOST: heartbeat.this_host(), names.PROCESS: heartbeat.process_name(os.getpid())}
    first = {names.PROJECT: OURS, names.KEY: "k", names.TICKET: "1", **process}
    there = client.create_run(elsewhere, tags=first).info.run_id
    said = []
    both = [experiment, elsewhere]
    single_flight.wait_for_turn(client, both, made(), "k", said.append, OURS, poll_seconds=0.1, believed=[experiment])
    assert said == [f"waiting for run {there} of unknown, which computes the same"]


# Reading


def test_records_of_the_nearest_runs_may_say_anything(client, experiment):
    """`plan` explains by them; one with an odd environment is passed over, a good one explains."""
    good = replace(records.RECORD, outputs=())
    wanted = replace(good, key="k", params={**good.params, "seed": "1"})

    def finished(record: Lineage, text: str | None = None) -> None:
        run_id = client.create_run(
            experiment, tags={**record.tags(), names.OUTPUTS: record.outputs_digest()}
        ).info.run_id
        client.log_text(run_id, text or record.to_json(), names.LINEAGE_FILE)
        client.set_terminated(run_id)

    finished(good)
    for name in records.ENVIRONMENT:
        for value in VALUES:
            with contextlib.suppress(LockError):
                Environment.from_dict({**records.ENVIRONMENT, name: value})
        finished(replace(good, environment={**records.ENVIRONMENT, name: [1]}, environment_key="odd"))
    nearest = cache.nearest(client, [experiment], wanted)
    assert [change.reason for change in cache.changes(nearest, wanted)] == ["seed 42 -> 1"]


def test_odd_promotions_are_no_promotions(client):
    """A tag of anybody's on the model is no reason to fail after a version was made."""
    client.create_registered_model("m")
    good = '{"number": 2, "version": "1", "over": null, "at": "", "by": "ada", "run_id": "x", "why": "y"}'
    odd = [good.replace("2", text, 1) for text in ("null", "[]", '"2"', "2.5", "true", "-1", "1e99", "9" * 400)]
    odd += [good.replace("null", text) for text in ("[]", "{}", "0", "false")] + [good.replace('"x"', "{}")]
    for number, text in enumerate([*odd, *TEXTS, good], 3):
        name = "0002.version-1" if text == good else f"{number:04}.version-1"
        client.set_registered_model_tag("m", names.PROMOTION + name, text[:5000])
    assert [entry.number for entry in promotions.history(client, "m")] == [2]
    with pytest.raises(promotions.RegistryError):
        promotions.previous(client, "m")


def test_every_search_is_read_to_its_end():
    """By one function; a search of MLflow's own gives the first page and says nothing of the others."""
    numbers = list(range(7))

    def search(condition: str, max_results: int, page_token: str | None) -> object:
        start = int(page_token or 0)
        page = numbers[start : start + max_results]

        class Page(list):
            token = str(start + max_results) if start + max_results < len(numbers) else None

        return Page(page)

    assert list(paging.every(search, "", max_results=2)) == numbers
    for path in [*(ROOT / "provenance").rglob("*.py"), *(ROOT / "steps").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert not node.func.attr.startswith("search_"), f"{path.name}:{node.lineno} reads one page only"


# The run of one's own


@pytest.mark.parametrize("entry_point", ["plan", "main", "preprocess", "gc", "drift"])
@pytest.mark.parametrize("whose", ["finished", "another's", "another step's", "begun", "unknown"])
def test_a_run_that_no_launcher_made_for_this_step_is_left_alone(entry_point, whose, client, made, monkeypatch):
    """MLFLOW_RUN_ID in the user's shell: MLflow would go on with that run, and `plan` deleted it."""
    tags = {names.ENTRY_POINT: entry_point, names.USER: os.environ.get("USER", "root")}
    run_id = {
        "finished": lambda: made("FINISHED", project=None, **tags),
        "another's": lambda: made(project=None),
        "another step's": lambda: made(project=None, **{**tags, names.ENTRY_POINT: "train"}),
        "begun": lambda: made(project=None, **tags, **DEAD),
        "unknown": lambda: "0" * 32,
    }[whose]()
    before = None if whose == "unknown" else client.get_run(run_id).to_dictionary()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    words = ["--months", "2023-04"] if entry_point == "drift" else []
    result = CliRunner().invoke(command(entry_point), words)
    assert result.exit_code == 2, result.output
    assert f"MLFLOW_RUN_ID names run '{run_id}', which `mlflow run` did not make for this step" in result.output
    assert whose == "unknown" or client.get_run(run_id).to_dictionary() == before


def test_plan_deletes_only_the_run_that_it_marked(client, made):
    """Whoever else's id comes to it: the mark of the process that planned must be on it."""
    from provenance.pipeline.forget import main

    mark = {names.PROCESS: "1@1", names.PROJECT: OURS}
    theirs, mine = made("FINISHED"), made("FINISHED", **mark)
    for run_id in (theirs, mine):
        main(run_id, mark)
    assert [client.get_run(run_id).info.lifecycle_stage for run_id in (theirs, mine)] == ["active", "deleted"]


# Deleting


def listed(client, experiment: str, keep_days: float = 30) -> set[str]:
    return {run.info.run_id for run in garbage.find(client, [experiment], OURS, keep_days).runs}


def test_runs_of_others_and_unmarked_ones_are_not_listed(client, experiment, made):
    """Another MLflow Project's old run, a fork's, and one of before runs said whose they are; the last are counted."""
    mine = made("FINISHED", 40, **{names.STEP: "train"})
    made("FINISHED", 40, project=None, **{names.ENTRY_POINT: "train"})
    made("FINISHED", 40, project=OTHERS, **{names.STEP: "train"})
    made("FINISHED", 40, project=None, **{names.STEP: "train"})
    found = garbage.find(client, [experiment], OURS, 30)
    assert {run.info.run_id for run in found.runs} == {mine}
    assert found.unmarked == 1


def test_what_a_running_chain_has_made_is_kept_however_old_it_is(client, experiment, made):
    """Its finished steps, and the run that one of them stands for; also what another's young run was made from."""
    main = made("RUNNING", 50, **{names.STEP: "main"})
    dataset, original = (made("FINISHED", 60, **{names.STEP: "preprocess"}) for _ in range(2))
    made("FINISHED", 50, **{names.PARENT: main, names.STEP: "preprocess", names.REUSED: original})
    search = made("FINISHED", 50, **{names.PARENT: main, **reading("dataset", f"runs:/{dataset}/dataset")})
    made("FINISHED", 50, **{names.PARENT: search, names.TRIAL: "0"})
    theirs = made("FINISHED", 60, **{names.STEP: "train"})
    made("FINISHED", 1, project=OTHERS, **{names.STEP: "train", names.REUSED: theirs})
    assert listed(client, experiment) == set()
    assert listed(client, experiment, keep_days=0) == {theirs}


def test_a_registry_that_cannot_be_known_keeps_what_could_be_registered(client, experiment, made, monkeypatch):
    """Another one, none that answers, or an empty one although a version was registered."""
    finished = {names.STEP: "train", names.OUTPUTS: "a" * 64}
    could, failed = made("FINISHED", 40, **finished), made("FAILED", 40, **{names.STEP: "train"})
    assert listed(client, experiment) == {could, failed}
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.get_registry_uri", lambda: "sqlite:////tmp/other.db")
        found = garbage.find(client, [experiment], OURS, 30)
    assert {run.info.run_id for run in found.runs} == {failed}
    assert "MLFLOW_REGISTRY_URI" in found.unknown
    found = garbage.find(refusing(client, "search_model_versions"), [experiment], OURS, 30)
    assert {run.info.run_id for run in found.runs} == {failed}
    assert "does not answer" in found.unknown
    [(name, text)] = making("version", "models:/m/1").items()
    client.set_tag(could, name, text)
    found = garbage.find(client, [experiment], OURS, 30)
    assert {run.info.run_id for run in found.runs} == {failed}
    assert "empty" in found.unknown


@pytest.mark.parametrize("earlier", [False, True])
def test_a_version_that_may_not_be_seen_keeps_its_run_and_a_deleted_one_does_not(client, experiment, made, earlier):
    """A registry of which one sees a part says nothing of the rest."""
    claim = {names.STEP: "register", **making("version", "models:/m/1", earlier)}
    run_id = made("FINISHED", 40, **claim)
    client.create_registered_model("other")
    client.create_model_version("other", "file:///nowhere")
    assert listed(client, experiment) == {run_id}
    assert {
        run.info.run_id for run in garbage.find(refusing(client, "get_model_version"), [experiment], OURS, 30).runs
    } == set()


ID, MODEL = "1" * 32, "m-" + "2" * 32


@pytest.mark.parametrize(("uri", "owner"), [
    (f"/data/mlruns/0/{ID}/artifacts", ID),
    (f"/data/a folder #1/{ID}/artifacts", ID),
    (f"file:///data/a%20folder/{ID}/artifacts", ID),
    (f"mlflow-artifacts:/0/{ID}/artifacts", ID),
    (f"s3://bucket/a/{ID}/artifacts", ID),
    (f"mlflow-artifacts:/0/models/{MODEL}/artifacts", MODEL),
])  # fmt: skip
def test_a_place_of_its_own(uri, owner):
    """Where MLflow puts the artifacts of a run or a logged model."""
    assert garbage.own_place(uri, owner) == uri


@pytest.mark.parametrize("uri", [
    "", "file:///home/ada", "/home/ada", f"/home/{ID}", f"/home/{ID}/artifacts/..", f"file:///home/{ID}/artifacts/%2e%2e",
    f"/home/{'3' * 32}/artifacts", f"s3://bucket/{ID}/artifacts?prefix=", f"s3://bucket/{ID}/artifacts#/..",
    f"s3://bucket/{ID}/artifacts/", f"runs:/x/{ID}/artifacts", f"mlflow-artifacts:/0/{ID}/..;/{ID}/artifacts", "dbfs:/",
])  # fmt: skip
def test_any_other_place_is_not_deleted(uri):
    """A store may say any place: `file:///home/ada` had a whole folder removed."""
    with pytest.raises(garbage.GarbageError, match="not a place of its own"):
        garbage.own_place(uri, ID)


def test_a_link_out_of_the_place_is_not_followed(tmp_path):
    """The run's folder, or its `artifacts`, is somebody's folder elsewhere."""
    (tmp_path / "precious").mkdir()
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "artifacts").symlink_to(tmp_path / "precious")
    with pytest.raises(garbage.GarbageError, match="leads to"):
        garbage.own_place(f"{tmp_path}/{ID}/artifacts", ID)


def test_gc_goes_on_where_one_cannot_be_deleted_and_says_so(client, made, tmp_path, monkeypatch):
    """Exit code 1 in the end; experiment and user are named; another's model that names our run as its source stays."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trips")
    project = project_identity.identity(ROOT)
    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.write_text("x")
    odd, good = (made("FINISHED", 40, project=project, **{names.STEP: "train", names.USER: "ada"}) for _ in range(2))
    experiment = client.get_run(good).info.experiment_id
    own, foreign = (client.create_logged_model(experiment, name="m", source_run_id=good) for _ in range(2))
    client.log_outputs(good, [LoggedModelOutput(own.model_id, 0)])
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", [str(precious.parent), odd])
    result = CliRunner().invoke(command("gc"), ["--delete", "true"])
    assert result.exit_code == 1, result.output
    assert precious.exists()
    assert f"run {odd} is not deleted: its artifacts lie at {precious.parent}" in result.output
    assert "experiment trips, user ada" in result.output
    assert "1 run deleted, 1 could not be" in result.output
    assert [client.get_run(run_id).info.lifecycle_stage for run_id in (odd, good)] == ["active", "deleted"]
    assert client.get_logged_model(foreign.model_id)
    with pytest.raises(MlflowException):
        client.get_logged_model(own.model_id)


def test_folders_that_may_not_be_looked_into_are_passed_over(tmp_path, monkeypatch):
    """Other people's temporary folders, and whatever a tag calls an environment."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for name in ("tmpa", "tmpb"):
        (tmp_path / name / ".git").mkdir(parents=True)
        (tmp_path / name / "MLproject").write_text("name: taxi\n")
    root = tmp_path / "root"
    root.mkdir()
    (root / "MLproject").write_text("name: taxi\n")
    look = Path.stat

    def stat(path: Path, **named):
        if "tmpa" in path.parts or "secret" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **named)

    monkeypatch.setattr(Path, "stat", stat)
    assert garbage.clones(root) == [tmp_path / "tmpb"]
    good = tmp_path / "envs" / ("mlflow-" + "a" * 40)
    good.mkdir(parents=True)
    monkeypatch.setattr("mlflow.utils.virtualenv._get_mlflow_virtualenv_root", lambda: str(good.parent))
    tags = [*TEXTS, "/", "/secret/mlflow-" + "b" * 40, "/etc/mlflow-x", str(good)]
    runs = [SimpleNamespace(data=SimpleNamespace(tags={names.ENVIRONMENT_FOLDER: text})) for text in tags]
    assert [folder for folder in garbage.environments(runs) if folder != Path(sys.prefix)] == [good]
