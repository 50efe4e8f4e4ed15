"""The registry through the gate: real versions in a real store, their history, rollback, and two at once."""

import contextlib
import random
import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.registry import promotions
from provenance.registry.promotions import RegistryError
from provenance.reproduce import replay
from provenance.reuse import heartbeat
from steps import names as trip_names
from steps.models import logged_model, promotion
from steps.models.judged_on import NOTHING_KNOWN, JudgedOn, description, judged_on_by
from steps.pipeline import PIPELINE
from taxi.evaluation.evaluate import Evaluation, latency_ms
from taxi.evaluation.promotion_rule import Thresholds
from taxi.evaluation.slices import Rows
from taxi.features.fitting import FEATURE_SETS, fit
from taxi.models.intervals import Intervals
from taxi.models.linear import LinearEstimator, LinearParams
from taxi.models.predictor import Predictor, PredictorError
from taxi.months.trips import VALID_SCHEMA
from tests.support.finished_runs import finish
from tests.support.records import RECORD

NAME = "trips"
# What register says of the trips that each version was judged on.
REAL_TRIPS = JudgedOn("New York", "green", "2023-03", "1 to 60 minutes", "a" * 64)
UNLOADED = "champion version 3 cannot be loaded by this code, so they were not compared"
TRUE_SLOPE = 4.0  # minutes a mile


def test_month(seed: int = 1, rows: int = 6_000) -> pa.RecordBatch:
    """March 2023: 3 minutes and 4 a mile, and noise of two."""
    rng = np.random.default_rng(seed)
    miles = rng.uniform(0.5, 10, rows)
    pickup = np.datetime64("2023-03-01", "us") + np.sort(rng.integers(0, 31 * 86_400, rows)) * np.timedelta64(
        10**6, "us"
    )
    zones = rng.integers(1, 20, (2, rows)).astype(np.int32)
    return pa.record_batch([zones[0], zones[1], miles, pickup, 3 + TRUE_SLOPE * miles + rng.normal(0, 2, rows)],
                           schema=VALID_SCHEMA)  # fmt: skip


test_month.__test__ = False


class Line:
    """scikit-learn's interface, as much as LinearEstimator needs."""

    def __init__(self, slope: float):
        from sklearn.linear_model import LinearRegression

        self.model = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([3.0, 3.0 + slope]))


def predictor(slope: float, taxi: str = "green") -> Predictor:
    """Of features `course`, whose every pair of zones counts nothing: 3 minutes and `slope` a mile."""
    features = fit(FEATURE_SETS["course"], [[test_month(rows=100)]])
    regression = Line(slope).model
    columns = features.labels
    regression.coef_ = np.array([0.0] * (len(columns) - 1) + [slope])
    regression.n_features_in_ = len(columns)
    estimator = LinearEstimator(LinearParams(), columns, list(range(len(columns))), None, regression)
    batch = test_month(2)
    made = Predictor(taxi, features, estimator)
    return replace(made, intervals=Intervals.learn(batch["duration"].to_numpy(), made.predict_valid([batch])))


def session_of(client) -> Session:
    run = client.create_run("0", tags={names.USER: "ada"})
    return Session(PIPELINE, client, run, quiet=True)


# What is registered: minutes a mile, 4 in truth; the last one is of yellow taxis.
SLOPES = {"1": 4.6, "2": 4.4, "3": 4.0, "4": 4.0}
YELLOW = "4"


@pytest.fixture(scope="module")
def store(tmp_path_factory, migrated_store) -> Path:
    """A store with four versions, registered as register does it, of which none is champion yet."""
    folder = tmp_path_factory.mktemp("registry")
    shutil.copy(migrated_store, folder / "mlflow.db")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = ?", [f"{folder}/mlruns/0"])
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    run, outputs = session_of(mlflow.MlflowClient()).run, []
    for number, slope in SLOPES.items():
        made = predictor(slope, "yellow" if number == YELLOW else "green")
        _, output = logged_model.log(made, run.info.run_id, "model", {}, {}, {})
        on = replace(REAL_TRIPS, taxi="yellow", digest="b" * 64) if number == YELLOW else REAL_TRIPS
        promotions.register(mlflow.MlflowClient(), NAME, output, on.tags(), description(on.made_up))
        outputs.append(replace(output, name=f"version-{number}", uri=f"models:/{NAME}/{number}"))
    finish(mlflow.MlflowClient(), run.info.run_id, RECORD, *outputs)
    mlflow.set_tracking_uri(before)
    return folder / "mlflow.db"


@pytest.fixture
def client(store, tmp_path, monkeypatch):
    """A client of a copy of that store; the artifacts are shared."""
    shutil.copy(store, tmp_path / "mlflow.db")
    uri, before = f"sqlite:///{tmp_path}/mlflow.db", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient(uri)
    mlflow.set_tracking_uri(before)


def contender(session: Session, number: str) -> promotion.Contender:
    """Version `number`, and how it does on March."""
    taxi = "yellow" if number == YELLOW else "green"
    made, rows = predictor(SLOPES[number], taxi), Rows.read([test_month()])
    judged = Evaluation.of(made, rows, [test_month()])
    figures = judged.figures(latency_ms(made, logged_model.example(made).iloc[:1]), model_bytes=20_000)
    version = session.client.get_model_version(NAME, number)
    on = judged_on_by(session, version)
    return promotion.Contender(version, judged, figures, taxi, ["2023-03"], lambda: [test_month()], on)


def enter(client, number: str, thresholds: Thresholds = promotion.THRESHOLDS) -> tuple:
    session = session_of(client)
    return promotion.decide_on(session, contender(session, number), thresholds)


def champion(client) -> str | None:
    return promotions.champion_of(client, NAME)


def test_worse_equal_and_better_candidates_through_the_real_registry(client):
    """First, worse, the same again, better: only the first and the better one ever become champion."""
    assert enter(client, "2")[0].reason == "there was no champion yet"
    for number, promoted, word in (("1", False, "not better"), ("2", False, "not better"), ("3", True, "lower than")):
        decision, measured = enter(client, number)
        assert decision.promote is promoted
        assert word in decision.reason
        assert {trip_names.LATENCY_MS, trip_names.CHAMPION_RMSE, trip_names.GAIN, trip_names.GAIN_LOW} == set(measured)
        assert all(name.startswith(names.OF_THE_MOMENT) for name in measured)
    assert champion(client) == "3"
    refused = client.get_model_version(NAME, "1").tags
    assert refused[names.DECISION] == "candidate"
    assert refused[names.REASON].startswith("not better than champion version 2: RMSE ")
    assert client.get_model_version(NAME, "3").tags[names.PROMOTED_OVER] == "2"
    assert client.get_model_version(NAME, "2").tags[names.DEMOTED_BY] == "3"
    assert [(entry.version, entry.over, entry.by) for entry in promotions.history(client, NAME)] == [
        ("2", None, "ada"), ("3", "2", "ada")
    ]  # fmt: skip


def test_a_persons_description_of_the_model_stays(client):
    """Ours is there from the first version on, and gives way to theirs for good."""
    assert client.get_registered_model(NAME).description == description(made_up=False)
    client.update_registered_model(NAME, "Ada's trips")
    session = session_of(client)
    _, output = logged_model.log(predictor(TRUE_SLOPE), session.run.info.run_id, "model", {}, {}, {})
    promotions.register(client, NAME, output, {}, "generated")
    assert client.get_registered_model(NAME).description == "Ada's trips"


def test_rollback_goes_back_step_by_step_and_never_forth(client):
    """1, 2, 3 were champion: back to 2, back to 1, and no further; history tells all of it."""
    for number in ("1", "2", "3"):
        assert enter(client, number)[0].promote
    session = session_of(client)
    for expected in ("2", "1"):
        back = promotions.previous(client, NAME)
        assert back == expected
        promotions.promote(session, NAME, back, "it was better", rollback=True)
        assert champion(client) == expected
    with pytest.raises(RegistryError, match="version 1 is the first champion"):
        promotions.previous(client, NAME)
    assert [(entry.version, entry.rollback) for entry in promotions.history(client, NAME)] == [
        ("1", False), ("2", False), ("3", False), ("2", True), ("1", True)
    ]  # fmt: skip
    assert names.DEMOTED_AT not in client.get_model_version(NAME, "1").tags  # it is champion again
    assert enter(client, "3")[0].promote  # over 1 this time
    assert promotions.previous(client, NAME) == "1"


def test_rollback_steps_over_versions_that_were_deleted(client):
    """Back to the last holder that is still there."""
    for number in ("1", "2", "3"):
        enter(client, number)
    client.delete_model_version(NAME, "2")
    assert promotions.previous(client, NAME) == "1"


def test_an_alias_set_by_hand_goes_back_to_the_last_champion_known(client):
    """Whoever set it did not write history."""
    enter(client, "2")
    client.set_registered_model_alias(NAME, names.CHAMPION, "1")
    assert promotions.previous(client, NAME) == "2"


def test_a_model_that_was_never_champion_has_no_way_back(client):
    """Nor has one that is not there."""
    with pytest.raises(RegistryError, match="no version was ever champion"):
        promotions.previous(client, NAME)
    with pytest.raises(RegistryError, match="no registered model 'other'"):
        promotions.previous(client, "other")


def test_another_taxis_champion_is_left_alone(client):
    """A yellow model is no better or worse than a green one: it belongs under another name."""
    enter(client, "2")
    decision, _ = enter(client, YELLOW)
    assert not decision.promote
    assert decision.reason == "champion version 2 is for green taxis; register yellow ones under another model_name"


def test_a_champion_that_has_seen_the_test_months_is_said_to_have(client):
    """Its advantage is in the reason, whatever the decision."""
    enter(client, "2")
    client.set_model_version_tag(NAME, "2", trip_names.LEARNED_MONTHS, "2023-02,2023-03")
    decision, _ = enter(client, "3")
    assert decision.promote
    assert decision.reason.endswith("; the champion has learned from 2023-03, which is in its favour")


def test_a_candidate_that_fails_a_threshold_is_refused_with_the_reason(client):
    """Better than the champion, but too large."""
    enter(client, "2")
    decision, _ = enter(client, "3", Thresholds(model_mb=0.001))
    assert not decision.promote
    assert ", but the model has 0 MB, above 0" in decision.reason
    assert champion(client) == "2"


@contextlib.contextmanager
def without_files(version: str):
    """While open, the files of that version are gone."""
    with open_artifact(f"models:/{NAME}/{version}") as folder:
        gone = folder.rename(f"{folder}.gone")
        try:
            yield
        finally:
            gone.rename(folder)


def test_a_champion_whose_files_are_gone_gives_way(client):
    """It is said that it cannot be loaded, not that it was beaten."""
    enter(client, "3")
    with without_files("3"):
        decision, _ = enter(client, "1")
    assert decision.reason == UNLOADED + "; this one holds every threshold"
    assert champion(client) == "1"


def test_a_champion_of_other_code_gives_way_and_it_is_said_what_to_do(client, capsys, monkeypatch):
    """Whole, but saved by code that wrote other fields; a candidate that fails a threshold does not take its place."""

    def load(folder: Path) -> Predictor:
        raise PredictorError(
            f"{folder} is not a saved predictor that this code reads (KeyError('taxi'))\n"
            " Register the model again, or use the code of the commit that made it."
        )

    enter(client, "3")
    monkeypatch.setattr(Predictor, "load", load)
    refused, _ = enter(client, "1", Thresholds(model_mb=0.001))
    held = champion(client)
    talkative = replace(session_of(client), quiet=False)
    decision, _ = promotion.decide_on(talkative, contender(talkative, "1"))
    assert not refused.promote
    assert refused.reason.startswith(UNLOADED + "; it fails: the model has 0 MB")
    assert held == "3"
    assert decision.reason == UNLOADED + "; this one holds every threshold"
    assert champion(client) == "1"
    said = capsys.readouterr().err
    assert "not a saved predictor that this code reads (KeyError('taxi'))" in said
    assert "Register the model again, or use the code of the commit that made it." in said
    assert "-e rollback" in said


def test_two_at_once_end_with_the_better_one_as_champion(client, monkeypatch):
    """Both beat the champion; the worse one looks at it first and acts last, but for the queue at the gate."""
    enter(client, "1")
    looked, compare = threading.Event(), promotion.against

    def slowly(session, one, champion, thresholds):
        found = compare(session, one, champion, thresholds)
        if str(one.version.version) == "2":
            looked.set()
            time.sleep(1)
        return found

    monkeypatch.setattr(promotion, "against", slowly)
    worse, better = (threading.Thread(target=enter, args=(client, number)) for number in ("2", "3"))
    worse.start()
    assert looked.wait(60)
    better.start()
    for racer in (worse, better):
        racer.join(60)
    assert champion(client) == "3"
    assert [(entry.version, entry.over) for entry in promotions.history(client, NAME)] == [
        ("1", None), ("2", "1"), ("3", "2")
    ]  # fmt: skip


STORE_CALLS = (
    "delete_model_version_tag", "delete_tag", "get_model_version", "get_model_version_by_alias", "get_registered_model",
    "log_batch", "search_runs", "set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag",
    "set_tag",
)  # fmt: skip


class Baton:
    """Threads of which one runs at a time; before each call of the store, chance says which goes on."""

    def __init__(self, seed: int, racers: int):
        self.rng, self.free, self.running = random.Random(seed), threading.Condition(), list(range(racers))
        self.turn = self.rng.choice(self.running)
        self.me = threading.local()
        self.failed: list[BaseException] = []

    def pass_on(self, *_) -> None:
        if (me := getattr(self.me, "number", None)) is not None:
            with self.free:
                self.turn = self.rng.choice(self.running)
                self.free.notify_all()
                assert self.free.wait_for(lambda: self.turn == me, 60)

    def race(self, number: int, work) -> None:
        self.me.number = number
        try:
            with self.free:
                assert self.free.wait_for(lambda: self.turn == number, 60)
            work()
        except BaseException as error:
            self.failed.append(error)
        finally:
            with self.free:
                self.running.remove(number)
                self.turn = self.rng.choice(self.running) if self.running else None
                self.free.notify_all()

    def run(self, *works) -> None:
        racers = [threading.Thread(target=self.race, args=(number, work)) for number, work in enumerate(works)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(120)
        assert not self.failed, self.failed


@pytest.mark.parametrize("schedules", [range(4), pytest.param(range(4, 44), marks=pytest.mark.slow)], ids=["4", "40"])
def test_in_any_order_of_their_calls_the_better_one_ends_as_champion(schedules, store, tmp_path, monkeypatch):
    """Two that both beat the champion, turn by turn as chance has it: the history is one line, each decision whole."""
    before, orders = mlflow.get_tracking_uri(), set()
    baton = None
    for name in STORE_CALLS:
        called = getattr(mlflow.MlflowClient, name)

        def shared(*args, _called=called, **kwargs):
            baton.pass_on()
            return _called(*args, **kwargs)

        monkeypatch.setattr(mlflow.MlflowClient, name, shared)
    monkeypatch.setattr(heartbeat.time, "sleep", lambda seconds: baton.pass_on())
    try:
        for seed in schedules:
            shutil.copy(store, tmp_path / f"{seed}.db")
            uri = f"sqlite:///{tmp_path}/{seed}.db"
            mlflow.set_tracking_uri(uri)
            baton, client = Baton(seed, 2), mlflow.MlflowClient(uri)
            enter(client, "1")
            sessions = [session_of(client) for _ in "23"]
            racers = zip(sessions, map(contender, sessions, "23"), strict=True)
            baton.run(*(partial(promotion.decide_on, *racer) for racer in racers))
            assert champion(client) == "3"
            history = [(entry.number, entry.version, entry.over) for entry in promotions.history(client, NAME)]
            orders.add(len(history))
            assert history in (
                [(1, "1", None), (2, "2", "1"), (3, "3", "2")],  # the worse one came first
                [(1, "1", None), (2, "3", "1")],  # and there was nothing for it to win
            )
            for number in "23":
                tags = client.get_model_version(NAME, number).tags
                assert tags[names.DECISION] == ("champion" if number == "3" or len(history) == 3 else "candidate")
                assert tags[names.REASON]
            for session in sessions:
                assert names.GATE not in client.get_run(session.run.info.run_id).data.tags
    finally:
        mlflow.set_tracking_uri(before)
    assert len(orders) == 2, "chance never let the better one come first, or always"


def test_a_registry_that_is_thrown_away_gets_no_champion_and_no_queue(client, tmp_path, monkeypatch):
    """A repetition's register step says so, rather than that there was no champion yet."""
    monkeypatch.setattr(promotions, "turn", lambda *args: pytest.fail("nobody else is at that gate"))
    with replay.scratch_registry(tmp_path):
        decision, measured = enter(client, "3")
    assert not decision.promote
    assert decision.reason.startswith("a repetition, registered in a registry that is thrown away with it")
    assert set(measured) == {trip_names.LATENCY_MS}
    assert champion(client) is None
    assert client.get_model_version(NAME, "3").tags[names.REASON] == decision.reason
    assert not promotions.throwaway()


TOY = replace(REAL_TRIPS, city="made up, city 1", digest="c" * 64)
OTHER_CITY = replace(TOY, city="made up, city 2", digest="d" * 64)
OTHER_FILTER = replace(REAL_TRIPS, kept="1 to 90 minutes", digest="d" * 64)
NEWER_MONTHS = replace(REAL_TRIPS, months="2023-04", digest="d" * 64)
SAME_FOLDER = replace(REAL_TRIPS, city="unknown")
HAND = "so they were not compared; register this one under another model_name, or set the alias by hand"
WHO = "champion version 2"
CITIES = {
    # champion, candidate: whether it is promoted, and why
    "toy over real": (REAL_TRIPS, TOY, False, f"{WHO} is of real trips, this model of the made-up city, {HAND}"),
    "real over toy": (TOY, REAL_TRIPS, True, f"{WHO} was of the made-up city, and this is the first of real trips"),
    "another made-up city": (TOY, OTHER_CITY, False, f"{WHO} is of another made-up city, {HAND}"),
    "other trips kept": (
        REAL_TRIPS,
        OTHER_FILTER,
        False,
        f"{WHO} was made for other trips ({REAL_TRIPS.kept}), {HAND}",
    ),
    "newer test months": (REAL_TRIPS, NEWER_MONTHS, True, "RMSE "),
    "over nobody knows what": (
        NOTHING_KNOWN,
        REAL_TRIPS,
        False,
        f"no run says from which trips {WHO} was made, {HAND}",
    ),
    "nobody knows what": (
        REAL_TRIPS,
        NOTHING_KNOWN,
        False,
        f"no run says from which trips this model was made, {HAND}",
    ),
    "the same trips, whosever they are": (SAME_FOLDER, SAME_FOLDER, True, "RMSE "),
}


@pytest.mark.parametrize("case", CITIES)
def test_only_models_of_the_same_kind_of_trips_are_compared(client, case):
    """A toy never beats a real one, however small its error; a real one is the first of its kind."""
    of_champion, of_candidate, promoted, reason = CITIES[case]
    enter(client, "2")
    for number, on in (("2", of_champion), ("3", of_candidate)):
        for name in (
            trip_names.CITY,
            trip_names.TAXI,
            trip_names.TEST_MONTHS,
            trip_names.TRIPS_KEPT,
            trip_names.TEST_DATA,
        ):
            if name in client.get_model_version(NAME, number).tags:
                client.delete_model_version_tag(NAME, number, name)
        promotions.tag_version(client, NAME, number, on.tags())
    decision, _ = enter(client, "3")
    assert decision.reason.startswith(reason)
    assert decision.promote is promoted
    assert champion(client) == ("3" if promoted else "2")


def test_a_champion_of_real_trips_that_cannot_be_loaded_gives_way_to_no_toy(client):
    """What its trips were is known without its files."""
    enter(client, "3")
    promotions.tag_version(client, NAME, "1", TOY.tags())
    with without_files("3"):
        decision, _ = enter(client, "1")
    assert not decision.promote
    assert champion(client) == "3"


def test_an_unchanged_chain_that_lost_the_title_does_not_get_it_by_being_run_again(client):
    """After a rollback the same chain, registered anew, is as good as it was; somebody had a reason."""
    for number, key in (("1", "a"), ("2", "b"), ("3", "b")):
        client.set_model_version_tag(NAME, number, names.KEY, key * 64)
    enter(client, "1")
    assert enter(client, "2")[0].promote
    promotions.promote(session_of(client), NAME, "1", "rollback from version 2", rollback=True)
    decision, _ = enter(client, "3")
    assert not decision.promote
    assert decision.reason == (
        "the same chain, unchanged, became champion before, as version 2, and lost it since: set the alias by hand to "
        "have it back"
    )
