"""What others wrote into the registry, and gates in experiments made meanwhile."""

import json
import threading
import time
from dataclasses import asdict

import pytest

from provenance.pipeline.session import Session
from provenance.record import names
from provenance.registry import promotions
from provenance.registry.promotions import Promotion, RegistryError
from steps.pipeline import PIPELINE

NAME = "it's trips"
GOOD = Promotion(1, "1", None, "2026-01-01T00:00:00Z", "ada", "1" * 32, "there was no champion yet")

ODD = {
    "no JSON": "champion!",
    "nothing": " ",
    "a list": "[1, 2]",
    "a list of fields": json.dumps(list(asdict(GOOD).values())),
    "a number": "7",
    "null": "null",
    "nested without end": "[" * 4000,
    "a number as text": json.dumps(asdict(GOOD) | {"number": "2"}),
    "a number that is none": json.dumps(asdict(GOOD) | {"number": float("nan")}),
    "a number without end": json.dumps(asdict(GOOD) | {"number": 10**400}),
    "a negative number": json.dumps(asdict(GOOD) | {"number": -2}),
    "yes for a number": json.dumps(asdict(GOOD) | {"number": True}),
    "a version that is a number": json.dumps(asdict(GOOD) | {"version": 1}),
    "a version that is a list": json.dumps(asdict(GOOD) | {"version": ["1"]}),
    "a version that is none": json.dumps(asdict(GOOD) | {"version": "first"}),
    "over an object": json.dumps(asdict(GOOD) | {"over": {"version": "1"}}),
    "over a number": json.dumps(asdict(GOOD) | {"over": 1}),
    "a reason that is none": json.dumps(asdict(GOOD) | {"why": None}),
    "a user that is a number": json.dumps(asdict(GOOD) | {"by": 7}),
    "a rollback that is text": json.dumps(asdict(GOOD) | {"rollback": "no"}),
    "a field too many": json.dumps(asdict(GOOD) | {"mood": "good"}),
    "fields missing": json.dumps({"number": 2, "version": "1"}),
    "another number than its name": json.dumps(asdict(GOOD) | {"number": 5}),
}


@pytest.fixture
def model(client):
    """A registered model of two versions, of which the first is champion, and then any odd tag."""
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, "s3://bucket/model")
    promotions.promote(session_of(client), NAME, "1", "there was no champion yet")
    return client


def session_of(client, experiment: str = "0") -> Session:
    return Session(PIPELINE, client, client.create_run(experiment, tags={names.USER: "ada"}), quiet=True)


@pytest.mark.parametrize("odd", ODD)
def test_a_promotion_that_somebody_else_wrote_is_passed_over(model, odd):
    """It ends neither a promotion nor a rollback, whatever its name."""
    for name in ("promotion.0002.version-1", "promotion.x", "promotion.0001.version-1 ", "promotion.-002.version-1"):
        model.set_registered_model_tag(NAME, name, ODD[odd])
    promotions.promote(session_of(model), NAME, "2", "better")
    assert [(entry.number, entry.version, entry.over) for entry in promotions.history(model, NAME)] == [
        (1, "1", None), (2, "2", "1")
    ]  # fmt: skip
    assert promotions.previous(model, NAME) == "1"
    for entry in promotions.history(model, NAME):
        assert entry.line()


def test_a_history_of_versions_that_are_none_leads_nowhere(model):
    """Well formed, and of a version that never was; a circle of them ends."""
    for number, version, over in ((3, "9", "8"), (4, "8", "9"), (5, "1", "9")):
        entry = Promotion(number, version, over, "now", "eve", "x", "because")
        model.set_registered_model_tag(NAME, entry.tag, json.dumps(asdict(entry)))
    with pytest.raises(RegistryError, match="there is none to go back to"):
        promotions.previous(model, NAME)


def test_what_is_printed_of_a_promotion_is_one_line_without_control_characters():
    """Whoever may write a registered model's tags must not write to the terminal of who asks for a rollback."""
    entry = Promotion(2, "2", "1", "now", "eve\x1b[2J", "x", "one\ntwo")
    assert entry.line() == "now  version 2, over version 1, by eve\\x1b[2J: one\\ntwo"
    assert Promotion(2, "2", "1", "now", "Zoë", "x", "better").line().endswith("by Zoë: better")


@pytest.mark.parametrize("later", ["before the gate", "while waiting at it"])
def test_runs_of_experiments_made_after_a_session_began_meet_at_the_gate(client, later):
    """The session asked which experiments there are when it began; the other one came with an experiment of its own."""
    first = session_of(client, client.create_experiment("first") if later != "before the gate" else "0")
    assert first.experiments  # as a step asks at its start
    other = session_of(client, client.create_experiment("made later"))
    inside, left, order = threading.Event(), threading.Event(), []

    def at_the_gate(session: Session, name: str) -> None:
        with promotions.turn(session, NAME):
            order.append(f"{name} enters")
            inside.set()
            left.wait(20)
            order.append(f"{name} leaves")

    racers = [threading.Thread(target=at_the_gate, args=each) for each in ((other, "other"), (first, "first"))]
    racers[0].start()
    assert inside.wait(20)
    racers[1].start()
    time.sleep(3)  # time enough to enter, if nobody kept it waiting
    left.set()
    for racer in racers:
        racer.join(30)
    assert order == ["other enters", "other leaves", "first enters", "first leaves"]
