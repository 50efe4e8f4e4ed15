"""A chain whose user signs: what each entry point says and takes with trust=signed, and with the default."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.reuse import cache
from provenance.signing.signatures import Signatures
from provenance.signing.signing_key import VARIABLE
from tests.support.finished_runs import finish
from tests.support.in_process import chain, command, words, working_in
from tests.support.project import Workplace, workplace
from tests.support.signing_keys import private_key, trust

SMALL = {"source": "sample:600", "model": "linear", "max_evals": "3", "batch": "1", "workers": "1", "top_n": "1"}
NAME = "nyc-taxi-duration-sample"


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store):
    """A store in which ada, who signs and is trusted, ran the chain; her key and the trusted ones lie beside it."""
    made = workplace(tmp_path_factory.mktemp("signed"), migrated_store)
    with working_in(made) as patch:
        patch.setattr(Session, "signatures", property(lambda session: Signatures(made.folder)))
        key = private_key(made.folder, "ada")
        trust(made.folder, key, "ada")
        patch.setenv(VARIABLE, str(key))
        chain(made.client, SMALL, trust="signed")
        done = invoke("main", SMALL, trust="signed")
        assert done.exit_code == 0, done.output
        yield made


@pytest.fixture(autouse=True)
def variables(place, monkeypatch):
    """Those of ada, in each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    monkeypatch.setenv(VARIABLE, str(place.folder / "ada.pem"))
    monkeypatch.chdir(place.folder)


def invoke(entry_point: str, params: dict[str, str], **more: str) -> Result:
    """With those of the parameters that the entry point has."""
    os.environ.pop("MLFLOW_RUN_ID", None)
    taken = {option.name for option in command(entry_point).params}
    given = {name: text for name, text in params.items() if name in taken}
    return CliRunner().invoke(command(entry_point), words({**given, **more}))


def error(done: Result) -> str:
    """The one clear error that an entry point ended with."""
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == 2 and "Traceback" not in done.stderr, done.stderr
    [said] = done.stderr.split("Error: ")[1:]
    return said


def newest(place: Workplace, step: str):
    query = f"tags.`{names.STEP}` = '{step}' and tags.`{names.OUTPUTS}` != '' and attributes.status = 'FINISHED'"
    return place.client.search_runs(["0"], query, max_results=1)[0]


def runs(place: Workplace) -> int:
    return len(place.client.search_runs(["0"], max_results=1000))


def signature(run_id: str) -> Path:
    with open_artifact(f"runs:/{run_id}/{names.SIGNATURE_FILE}") as path:
        return path


@pytest.fixture
def unsigned(place):
    """A function that takes the signature of a run away until the test has ended."""
    taken: list[tuple[Path, bytes]] = []

    def take(run_id: str) -> None:
        path = signature(run_id)
        taken.append((path, path.read_bytes()))
        path.unlink()

    yield take
    for path, content in taken:
        path.write_bytes(content)


def test_every_run_of_the_chain_is_signed_and_its_trials_are(place):
    """main and its steps by an artifact, trials by a tag."""
    for step in ("main", "preprocess", "train", "hpo", "register"):
        assert signature(newest(place, step).info.run_id).is_file()
    trials = place.client.search_runs(["0"], f"tags.`{names.TRIAL}` != ''")
    assert len(trials) == 3 and all(names.SIGNATURE in trial.data.tags for trial in trials)


def test_the_model_card_and_the_page_name_the_signer(place):
    run_id = newest(place, "register").info.run_id
    version = place.client.get_model_version_by_alias(NAME, names.CHAMPION)
    assert version.description.endswith(f"\n\nThe record of run {run_id} is signed by `ada`.")
    assert "signed by `ada`" in newest(place, "main").data.tags[names.NOTE]


def test_a_plan_takes_what_is_signed_and_says_what_is_not(place, unsigned):
    assert invoke("plan", SMALL, trust="signed").stdout.count("reuse run") == 4
    run_id = newest(place, "hpo").info.run_id
    unsigned(run_id)
    assert invoke("plan", SMALL, trust="signed").stdout.count("reuse run") == 2
    assert f"- run {run_id} is not taken: it is not signed" in invoke("plan", SMALL, trust="signed").stdout
    assert invoke("plan", SMALL).stdout.count("reuse run") == 4


def test_a_chain_all_of_whose_steps_are_signed_runs_none(place, monkeypatch):
    """Without a key, too: whoever only takes needs none. What reuses is signed by who reuses."""
    monkeypatch.delenv(VARIABLE)
    done = invoke("main", SMALL, trust="signed")
    assert done.exit_code == 0 and done.stderr.count(": reused run") == 4, done.output


def test_a_step_that_nobody_could_take_is_not_run(place, monkeypatch, tmp_path):
    """It would run for hours, and be refused by the step that needs it."""
    before = runs(place)
    monkeypatch.delenv(VARIABLE)
    said = error(invoke("train", SMALL, trust="signed", train_months="2022-12"))
    assert said == (
        "trust=signed: preprocess has to run, and what it makes would not be taken: no key signs it\n"
        " Set LINEAGE_SIGNING_KEY to your private key (docs/signing.md).\n"
    )
    monkeypatch.setenv(VARIABLE, str(private_key(tmp_path, "eve")))
    assert "is not in trusted_keys/\n" in error(invoke("train", SMALL, trust="signed", train_months="2022-12"))
    assert runs(place) == before + 2  # the two runs of train, failed


def test_a_dataset_that_no_run_made_is_not_taken(place):
    with open_artifact(f"runs:/{newest(place, 'preprocess').info.run_id}/dataset") as folder:
        said = error(invoke("train", SMALL, trust="signed", dataset=str(folder)))
    assert "no run made it, so nobody signed it\n" in said


def test_register_takes_a_signed_search_alone(place, unsigned):
    run_id = newest(place, "hpo").info.run_id
    unsigned(run_id)
    said = error(invoke("register", SMALL, trust="signed", search=run_id))
    assert f"run {run_id} is not taken: it is not signed\n" in said


def test_predict_takes_a_model_of_a_signed_run_alone(place, unsigned, tmp_path):
    """A record forged with its tags and files is a record; its old signature is not one of it."""
    trips = tmp_path / "trips.csv"
    trips.write_text(
        "PULocationID,DOLocationID,trip_distance,lpep_pickup_datetime,lpep_dropoff_datetime\n"
        "226,260,1.2,2023-04-01 08:00:00,2023-04-01 08:10:00\n"
    )
    asked = {"trips": str(trips), "out": str(tmp_path / "out.parquet")}
    done = invoke("predict", asked, trust="signed")
    assert done.exit_code == 0, done.output
    unsigned(newest(place, "register").info.run_id)
    said = error(invoke("predict", asked, trust="signed"))
    assert "/1 cannot be checked: run " in said and " is not taken: it is not signed\n" in said
    assert invoke("predict", asked).exit_code == 0


def test_a_forged_trial_is_not_taken(place, unsigned):
    """It says that it won, and has the signature of another; sound ones are taken, of a search nobody signed too."""
    search = newest(place, "hpo")
    key = search.data.tags[names.SEARCH_KEY]
    sound = place.client.search_runs(["0"], f"tags.`{names.TRIAL}` = '0' and tags.`{names.SEARCH_KEY}` = '{key}'")[0]
    result = {**json.loads(sound.data.tags[names.TRIAL_RESULT]), "number": 3, "loss": 0.5}
    result["metrics"] = {**result["metrics"], "val_rmse": 0.5}
    tags = {names.SEARCH_KEY: key, names.TRIAL: "3", names.TRIAL_RESULT: json.dumps(result)}
    for more in ({}, {names.SIGNATURE: sound.data.tags[names.SIGNATURE]}, {names.SIGNATURE: "{"}):
        place.client.set_terminated(place.client.create_run("0", tags={**tags, **more}).info.run_id)
    done = invoke("hpo", SMALL, trust="signed", max_evals="4")
    assert done.exit_code == 0, done.output
    assert "3 trials of earlier searches taken up" in done.stderr
    assert "1 trial of earlier searches not taken: it is not signed" in done.stderr
    assert f"1 trial of earlier searches not taken: its signature is for run {sound.info.run_id}" in done.stderr
    assert "1 trial of earlier searches not taken: its signature cannot be read" in done.stderr
    assert newest(place, "hpo").data.metrics["val_rmse"] > 0.5


def test_a_forged_run_is_taken_by_default_and_refused_when_only_signed_ones_are(place, unsigned):
    """By one who may write to the database and the bucket: metrics, record and tags agree."""
    run = newest(place, "train")
    run_id, before = run.info.run_id, run.data.metrics["val_rmse"]
    try:
        place.client.log_metric(run_id, "val_rmse", 0.25)
        finish(place.client, run_id, cache.read(run_id), *cache.read(run_id).outputs)
        taken = invoke("train", SMALL)
        assert taken.exit_code == 0 and "reused run" in taken.stderr and "0.25" in taken.output
        refused = invoke("train", SMALL, trust="signed")
        assert refused.exit_code == 0, refused.output
        assert f"run {run_id} is not taken: its signature is for metrics" in refused.stderr
        assert "0.25" not in refused.stdout
    finally:
        place.client.log_metric(run_id, "val_rmse", before)
        finish(place.client, run_id, cache.read(run_id), *cache.read(run_id).outputs)


@pytest.mark.parametrize("entry_point", ["preprocess", "main", "plan", "predict", "reproduce"])
def test_a_key_that_cannot_sign_ends_each_entry_point_before_any_work(entry_point, place, monkeypatch, tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key.pem"))
    params = {"predict": {"trips": "a", "out": "b"}, "reproduce": {"run_id": "0" * 32}}.get(entry_point, SMALL)
    said = error(invoke(entry_point, params))
    assert said.startswith(f"{VARIABLE}={tmp_path}/key.pem holds no private key that can be read\n Make a key: ")


def test_only_signed_runs_and_no_trusted_key_is_one_clear_error(place, monkeypatch, tmp_path):
    monkeypatch.setattr(Session, "signatures", property(lambda session: Signatures(tmp_path)))
    said = error(invoke("plan", SMALL, trust="signed"))
    assert said.startswith(f"trust=signed: {tmp_path}/trusted_keys holds no key, so no run could be taken\n Put ")


def test_the_private_key_is_nowhere_in_the_store(place):
    """Neither its content nor its path."""
    secret = (place.folder / "ada.pem").read_text().splitlines()[1].encode()
    for path in place.folder.rglob("*"):
        if path.is_file() and path.name != "ada.pem":
            content = path.read_bytes()
            assert secret not in content and b"ada.pem" not in content, path
