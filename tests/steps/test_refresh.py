"""refresh: what it does when months appear, change or are cut off. `main` is not run: what it was given counts."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from provenance.pipeline import forget, launch
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.reuse.cache import read
from steps import names as trip_names
from steps.main import main
from steps.pipeline import PIPELINE
from steps.refresh import refresh
from tests.support.finished_runs import TRAIN, finish
from tests.support.in_process import chain, words, working_in
from tests.support.mirror import cut_off, publish
from tests.support.project import Workplace, workplace

NAME = trip_names.MODEL_NAME
MONTHS = ("2023-01", "2023-02", "2023-03")
MADE_WITH = {"model": "linear", "max_evals": "2", "batch": "1", "workers": "1", "top_n": "2", "seed": "7"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, migrated_store):
    """A store with a champion of three months that lie in `months` beside it."""
    place = workplace(tmp_path_factory.mktemp("champion"), migrated_store)
    months = place.folder / "months"
    months.mkdir()
    for month in MONTHS:
        publish(months, month)
    with working_in(place):
        chain(place.client, {**MADE_WITH, "source": str(months), "model_name": NAME})
    before = mlflow.get_tracking_uri()
    yield place
    mlflow.set_tracking_uri(before)


class Refreshing:
    """A copy of that store and of its months; `asked` are the parameters of each `main` that was started."""

    def __init__(self, place: Workplace, folder: Path):
        self.folder, self.asked, self.fails = folder, [], False
        shutil.copytree(place.folder / "months", folder / "months")
        shutil.copy(place.folder / "mlflow.db", folder)
        self.place = Workplace(folder)

    @property
    def client(self):
        return self.place.client

    def launched(self, session: Session, step: str, parameters: dict[str, str]):
        """`main` without its work: a version that stays a candidate."""
        assert step == "main"
        self.asked.append(parameters)
        if self.fails:
            raise launch.ChainError("step main failed: as wanted")
        champion = self.client.get_model_version_by_alias(NAME, names.CHAMPION)
        told = {names.DECISION: "candidate", names.REASON: "not better"}
        version = self.client.create_model_version(NAME, champion.source, champion.run_id, tags=told)
        run = self.client.create_run("0")
        uri = f"models:/{NAME}/{version.version}"
        registered = {output.name: output for output in read(champion.tags[names.REGISTERED_BY]).outputs}
        output = replace(registered[names.VERSION], name="register.version", uri=uri)
        finish(self.client, run.info.run_id, replace(TRAIN, step="main"), output)
        return self.client.get_run(run.info.run_id)

    def __call__(self, **params: object) -> Result:
        given = {"source": str(self.folder / "months"), **params}
        return CliRunner().invoke(refresh, words(given))

    def runs(self) -> list:
        """The runs of refresh that are left, newest first."""
        query = f"tags.`{names.STEP}` = 'refresh'"
        return list(self.client.search_runs(["0"], query, order_by=["attributes.start_time DESC"]))

    def decision(self) -> dict:
        return json.loads(mlflow.artifacts.load_text(f"runs:/{self.runs()[0].info.run_id}/decision.json"))


@pytest.fixture
def refreshing(made, tmp_path, monkeypatch):
    found = Refreshing(made, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", found.place.store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(found.place.store)
    monkeypatch.setattr(launch, "launch", found.launched)
    monkeypatch.setattr(
        forget, "delete_once_launched", lambda client, run_id, project: client.delete_run(run_id)
    )  # at once
    return found


def worked(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exc_info)
    return result.stdout


def refused(result: Result) -> str:
    """The one clear error."""
    assert result.exit_code == 2 and "Traceback" not in result.output, (result.output, result.exc_info)
    return result.stderr.partition("Error: ")[2]


def test_nothing_new_leaves_no_run(refreshing):
    """It says which version is fresh, up to which month."""
    before = {run.info.run_id for run in refreshing.client.search_runs(["0"], max_results=1000)}
    told = worked(refreshing())
    assert told == f"fresh: {NAME} version 1 was made of the newest green months, up to 2023-03\n"
    assert {run.info.run_id for run in refreshing.client.search_runs(["0"], max_results=1000)} == before
    assert refreshing.asked == []


def test_a_new_month_below_the_limit_keeps_the_champion_and_is_measured_once(refreshing):
    """The run has the drift as metrics, the decision as a file, the result first on its page; the next leaves none."""
    publish(refreshing.folder / "months", "2023-04")
    told = worked(refreshing(retrain_above=1000))
    assert "keep: the champion's RMSE changed by " in told
    [run] = refreshing.runs()
    assert run.data.metrics["rmse_change_percent"] < 1000
    assert run.data.tags[names.NOTE].startswith(f"**Version 1 of {NAME} stays**: the champion's RMSE changed by ")
    assert "\n# Drift: green 2023-04" in run.data.tags[names.NOTE]
    decision = refreshing.decision()
    assert (decision["decision"], decision["retrained"], decision["months"]["new"]) == ("keep", None, ["2023-04"])
    assert decision["drift"]["metrics"]["new_rmse"] == run.data.metrics["new_rmse"]
    assert f"fresh: run {run.info.run_id} has decided on these months" in worked(refreshing(retrain_above=1000))
    assert len(refreshing.runs()) == 1 and refreshing.asked == []


def test_a_new_month_above_the_limit_retrains_once_as_the_champion_was_made(refreshing):
    """On the window moved forward, whose lengths are the champion's. What stays a candidate is not trained again."""
    publish(refreshing.folder / "months", "2023-04", slower=1.5)
    told = worked(refreshing())
    assert "more than the 5 % allowed" in told
    [asked] = refreshing.asked
    moved = {"train_months": "2023-02", "val_months": "2023-03", "test_months": "2023-04"}
    same = {name: MADE_WITH[name] for name in ("model", "max_evals", "batch", "top_n", "seed")}
    wanted = moved | same | {"model_name": NAME, "features": "full", "refit": "train+val", "trust": "experiment"}
    assert wanted.items() <= asked.items()
    assert set(asked) <= {option.name for option in main.params}
    assert refreshing.decision()["retrained"]["became"] == "candidate"
    [run] = refreshing.runs()
    assert (
        "version 2](#/models/nyc-taxi-duration/versions/2) stays a candidate**: not better."
        in run.data.tags[names.NOTE]
    )
    assert f"fresh: run {run.info.run_id} has decided on these months" in worked(refreshing())
    assert len(refreshing.asked) == 1


def test_other_months_or_another_limit_are_another_decision(refreshing):
    """A decision is taken for these months and these parameters."""
    publish(refreshing.folder / "months", "2023-04")
    worked(refreshing(retrain_above=1000))
    worked(refreshing(retrain_above=0))
    publish(refreshing.folder / "months", "2023-05")
    worked(refreshing(retrain_above=0, max_evals=3, val_window=2))
    assert [asked["test_months"] for asked in refreshing.asked] == ["2023-04", "2023-05"]
    assert refreshing.asked[1]["val_months"] == "2023-03,2023-04" and refreshing.asked[1]["max_evals"] == "3"


def test_a_month_of_the_champion_that_changed_retrains(refreshing):
    """On the same window, since there is no newer month; the reason names it."""
    publish(refreshing.folder / "months", "2023-02", rows=601)
    assert "retrain: 2023-02 changed since the champion was made" in worked(refreshing())
    [asked] = refreshing.asked
    assert (asked["train_months"], asked["val_months"], asked["test_months"]) == MONTHS
    assert "has decided on these months" in worked(refreshing())


def test_a_month_that_is_cut_off_is_said_and_not_trained_on(refreshing):
    """It is taken when it is whole; the months beside it do not wait."""
    months = refreshing.folder / "months"
    cut_off(publish(months, "2023-04"))
    result = refreshing(retrain_above=0)
    assert "2023-04 is left out: " in result.stderr and "cannot be read as Parquet" in result.stderr
    assert worked(result).startswith("fresh: ") and refreshing.asked == []
    publish(months, "2023-05")
    assert "2023-04 is left out" in refreshing(retrain_above=0).stderr
    assert "2023-04 is left out" in refreshing.runs()[0].data.tags[names.NOTE]
    publish(months, "2023-04")
    worked(refreshing(retrain_above=0))
    windows = [[asked[f"{split}_months"] for split in ("train", "val", "test")] for asked in refreshing.asked]
    assert windows == [["2023-02", "2023-03", "2023-05"], ["2023-03", "2023-04", "2023-05"]]


def test_a_main_that_fails_leaves_the_champion_and_is_tried_again(refreshing):
    """The run says why it trained."""
    publish(refreshing.folder / "months", "2023-04")
    refreshing.fails = True
    assert refused(refreshing(retrain_above=0)) == "step main failed: as wanted\n"
    [run] = refreshing.runs()
    assert run.info.status == "FAILED"
    assert run.data.tags[names.NOTE].startswith("Training anew, because the champion's RMSE changed by ")
    assert str(refreshing.client.get_model_version_by_alias(NAME, names.CHAMPION).version) == "1"
    refreshing.fails = False
    worked(refreshing(retrain_above=0))
    assert len(refreshing.asked) == 2


def test_without_a_champion_the_newest_window_is_trained(refreshing):
    """With the parameters of `main`, but for those that are given."""
    publish(refreshing.folder / "months", "2023-04")
    refreshing.client.delete_registered_model_alias(NAME, names.CHAMPION)
    refreshing.fails = True
    refused(refreshing(train_window=2, seed=3))
    [asked] = refreshing.asked
    wanted = {"train_months": "2023-01,2023-02", "val_months": "2023-03", "test_months": "2023-04", "seed": "3"}
    assert wanted.items() <= asked.items() and "model" not in asked


def test_months_that_the_source_no_longer_has_are_no_reason(refreshing):
    """They are named; a window that lacks them is one clear error."""
    months = refreshing.folder / "months"
    for month in MONTHS[:2]:
        (months / f"green_tripdata_{month}.parquet").unlink()
    assert "2023-01 is left out" in refreshing().stderr
    assert refreshing.asked == []
    publish(months, "2023-04")
    assert "needs 3, and the source has 2 that can be used: 2023-03, 2023-04" in refused(refreshing(retrain_above=0))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"taxi": "yellow"}, "is for green taxis"),
        ({"source": "/nowhere"}, "is no folder to read months from"),
        ({"model_name": "other", "source": "{empty}"}, "has no month of green taxis that can be used"),
        ({"train_window": "0"}, "0 is not in the range"),
    ],
)
def test_bad_input_is_one_clear_error(refreshing, params, said):
    """And the registry stays as it was."""
    empty = refreshing.folder / "empty"
    empty.mkdir()
    text = refreshing(**{name: value.format(empty=empty) for name, value in params.items()})
    assert text.exit_code == 2 and said in text.stderr and "Traceback" not in text.output, text.output
    assert len(refreshing.client.search_model_versions(f"name = '{NAME}'")) == 1


def test_the_sample_has_no_newer_months(refreshing, monkeypatch):
    """Months of the made-up city are all there already; a champion of theirs is compared by their recipe."""
    refreshing.fails = True
    refused(refreshing(source="sample:600"))
    assert [refreshing.asked[0][f"{split}_months"] for split in ("train", "val", "test")] == list(MONTHS)
    assert refreshing.asked[0]["model_name"] == trip_names.SAMPLE_MODEL_NAME


def test_a_refresh_waits_for_another_of_the_same_model(refreshing):
    """On another machine, which is known by its heartbeat alone; of another model it does not."""
    from threading import Timer

    from provenance.record.digest import digest_json
    from provenance.store.project_identity import identity

    def started(model_name: str) -> str:
        tags = {trip_names.REFRESH: digest_json(model_name), trip_names.REFRESH_TICKET: "1", names.HOST: "elsewhere"}
        tags |= {names.PROJECT: identity(PIPELINE.root), names.PROCESS: "1@1", names.HEARTBEAT: f"{time.time():.0f}"}
        return refreshing.client.create_run("0", tags=tags).info.run_id

    started("other")
    run_id = started(NAME)
    ending = Timer(3, refreshing.client.set_terminated, [run_id])
    ending.start()
    result = refreshing()
    ending.join()
    assert worked(result).startswith("fresh: ")
    assert f"waiting for run {run_id} of " in result.stderr and "which refreshes the same model" in result.stderr
