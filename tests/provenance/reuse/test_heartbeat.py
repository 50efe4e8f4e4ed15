"""Signs of life and turns: on a real store, with real processes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from provenance.record import names
from provenance.reuse import cache, heartbeat, single_flight


@pytest.fixture
def experiment(client) -> str:
    return client.get_experiment_by_name("trips").experiment_id


OURS = "taxi of example.org/taxi"


def running(client, experiment: str, **tags: str):
    run = client.create_run(experiment, tags={names.ENTRY_POINT: "train", names.PROJECT: OURS, **tags})
    return client.get_run(run.info.run_id)


def of(pid: int) -> dict[str, str]:
    return {
        names.HOST: heartbeat.this_host(),
        names.PROCESS: heartbeat.process_name(pid) or f"{pid}@0",
        names.HEARTBEAT: "0",
    }


def test_a_process_that_ended_is_dead_whatever_its_beat(client, experiment):
    """On one host the process itself decides: no waiting for missed beats."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = running(client, experiment, **of(process.pid))
    assert not heartbeat.is_dead(client, run, time.time())
    process.kill()
    process.wait()
    assert heartbeat.is_dead(client, run, time.time())


def test_another_process_with_the_same_pid_is_not_the_one(client, experiment):
    """A pid that was given again belongs to somebody else."""
    run = running(client, experiment, **{**of(os.getpid()), names.PROCESS: f"{os.getpid()}@1"})
    assert heartbeat.is_dead(client, run, time.time())


@pytest.mark.parametrize(
    ("silent_for", "dead"), [(heartbeat.HEARTBEAT_SECONDS, False), (heartbeat.SILENT_SECONDS + 1, True)]
)
def test_elsewhere_the_beat_decides(client, experiment, silent_for, dead):
    """A process on another host cannot be looked at."""
    now = 1_000_000.0
    tags = {names.HOST: "elsewhere", names.PROCESS: "1@1", names.HEARTBEAT: str(now - silent_for)}
    assert heartbeat.is_dead(client, running(client, experiment, **tags), now) is dead


def test_runs_of_dead_processes_are_marked_and_living_ones_left(client, experiment):
    """A killed chain leaves its steps and trials RUNNING: all are KILLED by the next run, a colleague's is not."""
    dead = running(client, experiment, **{**of(os.getpid()), names.PROCESS: "999999999@1"})
    child = running(client, experiment, **{names.PARENT: dead.info.run_id})
    living = running(client, experiment, **of(os.getpid()))
    foreign = client.create_run(experiment)
    assert set(heartbeat.mark_dead_runs(client, cache.experiments(client), OURS)) == {
        dead.info.run_id,
        child.info.run_id,
    }
    statuses = [client.get_run(run.info.run_id).info.status for run in (dead, child, living, foreign)]
    assert statuses == ["KILLED", "KILLED", "RUNNING", "RUNNING"]


def test_a_run_that_ends_while_it_is_looked_at_stays_as_it_ended(client, experiment, monkeypatch):
    """It was RUNNING when runs were listed. On a busy machine its process had ended, well, before it was looked for."""
    run = running(client, experiment, **of(os.getpid()))
    listed = client.search_runs

    def ends_after(*args, **kwargs):
        found = listed(*args, **kwargs)
        client.set_terminated(run.info.run_id)
        monkeypatch.setattr(heartbeat, "process_name", lambda pid: None)
        return found

    monkeypatch.setattr(client, "search_runs", ends_after)
    assert heartbeat.mark_dead_runs(client, [experiment], OURS) == []
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_what_a_killed_check_had_repeated_cannot_be_reused(client, experiment):
    """It could not take its child runs' outputs back any more; who comes next does. A main's steps stay usable."""
    children = {}
    for entry_point in ("reproduce", "main"):
        tags = {**of(os.getpid()), names.PROCESS: "999999999@1", names.ENTRY_POINT: entry_point}
        parent = running(client, experiment, **tags).info.run_id
        child = running(client, experiment, **{names.PARENT: parent, names.OUTPUTS: "a" * 64})
        client.set_terminated(child.info.run_id)
        children[entry_point] = child.info.run_id
    heartbeat.mark_dead_runs(client, cache.experiments(client), OURS)
    assert names.OUTPUTS not in client.get_run(children["reproduce"]).data.tags
    assert names.OUTPUTS in client.get_run(children["main"]).data.tags


def test_of_many_with_one_key_exactly_one_computes(client, experiment):
    """Six runs ask at once; whoever's turn it is computes, the others find it done."""
    done, computed, said = threading.Event(), [], []

    def one() -> None:
        run = running(client, experiment, **of(os.getpid()))
        single_flight.wait_for_turn(client, [experiment], run.info.run_id, "k", said.append, OURS, poll_seconds=0.05)
        if not done.is_set():
            computed.append(run.info.run_id)
            time.sleep(0.3)
            done.set()
        client.set_terminated(run.info.run_id)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(computed) == 1
    assert len(said) >= 5  # the first one too may wait for another to draw its ticket


def test_nobody_waits_for_a_dead_one(client, experiment):
    """A killed run held the first ticket: its turn passes on."""
    tags = {**of(os.getpid()), names.PROCESS: "999999999@1", names.KEY: "k", names.TICKET: "1"}
    running(client, experiment, **tags)
    mine = running(client, experiment, **of(os.getpid()))
    single_flight.wait_for_turn(client, [experiment], mine.info.run_id, "k", print, OURS, poll_seconds=60)


def elsewhere(beat: float) -> dict[str, str]:
    return {names.HOST: "elsewhere", names.PROCESS: "1@1", names.HEARTBEAT: str(beat)}


def test_nobody_waits_for_a_dead_one_whose_clock_was_ahead(client, experiment, monkeypatch):
    """Its last beat says tomorrow; that it never changes is what counts."""
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.3)
    running(client, experiment, **elsewhere(time.time() + 86_400), **{names.KEY: "k", names.TICKET: "1"})
    mine = running(client, experiment, **of(os.getpid()))
    single_flight.wait_for_turn(client, [experiment], mine.info.run_id, "k", lambda line: None, OURS, poll_seconds=0.1)


def test_a_living_one_is_waited_for_whatever_its_clock_says(client, experiment, monkeypatch):
    """A clock set back to 1970 in the middle of the work: its beats still come."""
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.3)
    watch, run = heartbeat.SilenceWatch(client), running(client, experiment, **elsewhere(time.time()))
    for beat in range(8):
        client.set_tag(run.info.run_id, names.HEARTBEAT, str(beat))
        assert not watch.is_dead(client.get_run(run.info.run_id))
        time.sleep(0.1)
    time.sleep(0.4)
    assert watch.is_dead(client.get_run(run.info.run_id))
