"""A chain and what a hand, a server, a disk or too little memory does to it: said, ended, and run again as ever."""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provenance.record import names
from tests.support.chain_results import end_of
from tests.support.disk import small_disk
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import LAUNCHER, Workplace, copied, environment, workplace

pytestmark = pytest.mark.slow
PARAMS = {"source": "sample:1000", "max_evals": "3", "top_n": "1"}
STEPS = ("preprocess", "train", "hpo", "register")
ENDED = {"FINISHED", "FAILED", "KILLED"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, migrated_store) -> tuple:
    """Digests and metrics of a chain that nothing happened to."""
    place = workplace(tmp_path_factory.mktemp("undisturbed"), migrated_store)
    assert place.run(**PARAMS).exit_code == 0
    return end_of(place)


def wait_for(condition: Callable[[], object], log: Path, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def in_session(session: int) -> dict[int, str]:
    """Living processes of a session: id -> command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def at_work(place: Workplace, step: str) -> bool:
    """Whether `step` runs, past its start: its inputs are known, and so is its key."""
    query = f"attributes.status = 'RUNNING' and tags.`{names.STEP}` = '{step}' and tags.`{names.KEY}` != ''"
    return bool(place.client.search_runs(["0"], query))


def statuses(place: Workplace) -> set[str]:
    return {run.info.status for run in place.client.search_runs(["0"], max_results=1000)}


DISTURBANCES = [
    ("preprocess", signal.SIGTERM, "the launcher alone"),
    ("train", signal.SIGINT, "all"),
    ("hpo", signal.SIGKILL, "the launcher alone"),
    ("register", signal.SIGTERM, "all"),
]


def test_a_signal_ends_all_of_it_and_marks_every_run(tmp_path, migrated_store, undisturbed):
    """Ctrl-C, the end of a job's time, a launcher that is killed: no process, no RUNNING run is left, each time.

    One chain, stopped in each of its steps and started again, which takes up what was finished.
    """
    place, log = workplace(tmp_path, migrated_store), tmp_path / "log"
    for step, word, whom in DISTURBANCES:
        with place.started(log, **PARAMS) as running:
            wait_for(lambda step=step: at_work(place, step), log)
            os.killpg(running.pid, word) if whom == "all" else running.send_signal(word)
            assert running.wait(60) != 0
            wait_for(lambda running=running: not in_session(running.pid), log, 30)
        assert "Traceback (most recent call last)" not in ours(log), log.read_text()[-3000:]
        assert statuses(place) <= ENDED, (step, log.read_text()[-3000:])
    result = place.run(**PARAMS)
    assert result.exit_code == 0, result.stderr
    assert end_of(place) == undisturbed
    assert statuses(place) <= ENDED


def ours(log: Path) -> str:
    """What the steps said; `mlflow run` itself shows its own traceback when it is interrupted."""
    text = log.read_text()
    return text[: text.find("interrupted, cancelling run")] if "interrupted, cancelling run" in text else text


def test_a_server_that_is_killed_and_comes_back_is_waited_for(tmp_path, migrated_store, undisturbed):
    """Gone for some twenty seconds in the middle of each step: MLflow asks again, and the chain ends as ever.

    Killed in the middle of an answer, which MLflow does not ask for again, it is said, and a re-run ends as ever.
    """
    place, log, port = workplace(tmp_path, migrated_store, "mlflow-artifacts:/0"), tmp_path / "log", free_port()
    uri, serverlog = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    command = [LAUNCHER, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", place.store, "--artifacts-destination", str(tmp_path / "kept")]  # fmt: skip
    variables = environment({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})

    @contextlib.contextmanager
    def server() -> Iterator[None]:
        with background(command, serverlog, variables, tmp_path) as serving:
            wait_for_answer(f"{uri}/health", serverlog, serving)
            try:
                yield
            finally:
                os.killpg(serving.pid, signal.SIGKILL)

    gone, begun = [], []
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            begun.append(stack.enter_context(place.started(log, env={"MLFLOW_TRACKING_URI": uri}, **PARAMS)))

        def begin_again() -> None:
            said = log.read_text()
            assert "the server went away in the middle of an answer" in said, said[-3000:]
            assert "Traceback (most recent call last)" not in said, said[-3000:]
            begin()

        def comes_to(step: str) -> bool:
            if begun[-1].poll():
                begin_again()
            return at_work(place, step)

        up = stack.enter_context(contextlib.ExitStack())
        up.enter_context(server())
        begin()
        for step in STEPS:
            wait_for(lambda step=step: comes_to(step), log)
            up.close()
            since = time.monotonic()
            time.sleep(12)
            up.enter_context(server())
            gone.append(round(time.monotonic() - since))
        while begun[-1].wait(400) != 0:
            begin_again()
        assert len(begun) <= 1 + len(STEPS)
        assert statuses(place) == {"FINISHED"} if len(begun) == 1 else statuses(place) <= ENDED
        assert end_of(place, uri) == undisturbed
    print(f"gone for {gone} s, {len(begun) - 1} of them met in the middle of an answer")


def test_a_full_disk_under_store_and_artifacts_is_said_and_survived(tmp_path, migrated_store, undisturbed):
    """The run itself cannot be marked then: the next one finds it dead, and the chain ends as ever."""
    with small_disk(tmp_path / "disk", 60) as disk:
        place = workplace(disk.path, migrated_store)
        with disk.filled(leaving=220):
            result = place.run(**PARAMS)
        assert result.exit_code != 0
        # `mlflow run` adds a traceback of its own: it cannot mark the run either.
        assert "Error: no space left" in result.stderr, result.stderr[-3000:]
        result = place.run(**PARAMS)
        assert result.exit_code == 0, result.stderr
        assert end_of(place) == undisturbed
        assert statuses(place) <= ENDED


def test_a_memory_limit_is_survived(tmp_path, migrated_store, undisturbed):
    """As by `ulimit -v`, from the moment a step is at work: it may take no more than it has. Two steps of one chain."""
    place, log = workplace(tmp_path, migrated_store), tmp_path / "log"
    for step in ("preprocess", "hpo"):
        with place.started(log, **PARAMS) as running:
            wait_for(lambda step=step: at_work(place, step), log)
            for pid, command in in_session(running.pid).items():
                if f"steps.{step} " in command and "bash" not in command:
                    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
                    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
            assert running.wait(120) != 0
            wait_for(lambda running=running: not in_session(running.pid), log, 30)
        # Without a byte left Python cannot always say it in one line; the step above can.
        assert f"Error: step {step} failed" in log.read_text()
    result = place.run(**PARAMS)
    assert result.exit_code == 0, result.stderr
    assert end_of(place) == undisturbed
    assert statuses(place) <= ENDED


def test_a_read_only_project_is_run_as_ever(tmp_path, migrated_store):
    """Installed by an administrator, or mounted: a run writes nothing into the project's own folder."""
    place = workplace(tmp_path / "place", migrated_store)
    with small_disk(tmp_path / "disk", 60) as disk:
        copied(disk.path)
        with disk.read_only():
            result = place.run("preprocess", uri=disk.path, source="sample:1000")
            assert result.exit_code == 0, result.stderr
