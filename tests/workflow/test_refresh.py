"""refresh as schedulers start it, on a mirror of TLC's site where tiny months appear; the schedules of its page."""

import contextlib
import os
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from provenance.record import names
from tests.support.mirror import mirror, publish
from tests.support.processes import background
from tests.support.project import LAUNCHER, ROOT, Workplace, environment, mlflow_run, workplace

NAME = "nyc-taxi-duration"
SMALL = {"model": "linear", "max_evals": "2", "top_n": "1"}
PATIENCE_SECONDS = 3600  # two chains beside other work
PAGE = (ROOT / "docs" / "refresh.md").read_text()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The folder that the mirror serves. Runs of this process's children fetch from it, into a cache of their own."""
    folder = tmp_path / "site"
    folder.mkdir()
    with mirror(folder) as url:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("TLC_BASE_URL", url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield folder


@pytest.fixture
def place(tmp_path, migrated_store):
    return workplace(tmp_path / "work", migrated_store)


def refreshed(place: Workplace, **params: object) -> str:
    result = place.run("refresh", source="tlc", **params)
    assert result.exit_code == 0, result.stderr[-3000:]
    return result.stdout


def steps(place: Workplace) -> Counter:
    """How many runs of each entry point are left."""
    runs = place.client.search_runs(["0"], f"tags.`{names.ENTRY_POINT}` != ''", max_results=1000)
    return Counter(run.data.tags[names.ENTRY_POINT] for run in runs)


def holder(place: Workplace, alias: str) -> str:
    return str(place.client.get_model_version_by_alias(NAME, alias).version)


def at_once(place: Workplace, logs: Path, count: int, **params: object) -> list[str]:
    """What schedulers that start at the same moment print."""
    files = [logs / f"log-{number}" for number in range(count)]
    with contextlib.ExitStack() as stack:
        command = mlflow_run("refresh", source="tlc", **params)
        running = [stack.enter_context(background(command, log, environment(), place.folder)) for log in files]
        for process in running:
            process.wait(PATIENCE_SECONDS)
    said = [log.read_text() for log in files]
    assert [process.returncode for process in running] == [0] * count, said
    return said


@pytest.mark.slow
def test_a_champion_is_kept_fresh(place, site, tmp_path):
    """None new; below the limit; above it, for two schedulers at once, and not better; better; an input that moved."""
    for month in ("2023-01", "2023-02", "2023-03"):
        publish(site, month, rows=2000)
    made = place.run("main", source="tlc", **SMALL)
    assert made.exit_code == 0, made.stderr[-3000:]
    before = steps(place)

    assert refreshed(place).startswith(f"fresh: {NAME} version 1 was made of the newest green months, up to 2023-03")

    publish(site, "2023-04", rows=2000)
    assert "\nkeep: the champion's RMSE changed by " in refreshed(place, retrain_above=50)
    wait_for(lambda: steps(place) - before == Counter(refresh=1))

    publish(site, "2023-05", rows=2000, slower=1.5)
    logs = at_once(place, tmp_path, 2)
    [first] = [log for log in logs if "\nwindow: train 2023-03, val 2023-04, test 2023-05\n" in log]
    [other] = [log for log in logs if log is not first]
    assert re.search(r"fresh: run \w+ has decided on these months .*: retrain: the champion's RMSE changed by", other)
    wait_for(lambda: steps(place)["refresh"] == 2)
    assert (steps(place) - before)["main"] == 1
    versions = {str(version.version): version for version in place.client.search_model_versions(f"name = '{NAME}'")}
    assert set(versions) == {"1", "2"}
    assert versions["2"].tags[names.DECISION] == "candidate"
    assert (holder(place, names.CHAMPION), holder(place, names.CANDIDATE)) == ("1", "2")

    for month in ("2023-06", "2023-07"):
        publish(site, month, rows=2000, slower=1.5)
    assert f"{NAME} version 3 (champion): RMSE " in refreshed(place, max_evals=3)
    assert holder(place, names.CHAMPION) == "3"
    assert place.client.get_model_version(NAME, "3").tags["learned_months"] == "2023-05,2023-06"

    publish(site, "2023-06", rows=2001, slower=1.5)
    assert "retrain: 2023-06 changed since the champion was made" in refreshed(place)
    statuses = Counter(run.info.status for run in place.client.search_runs(["0"], max_results=1000))
    assert set(statuses) == {"FINISHED"}


def wait_for(condition) -> None:
    """The run of a refresh that had nothing to do goes as soon as the launcher is done with it."""
    import time

    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def scheduled() -> str:
    """The command of the workflow's step that refreshes."""
    [workflow] = map(yaml.safe_load, blocks("yaml"))
    [command] = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "mlflow run" in step.get("run", "")
    ]
    return command


def test_the_workflow_is_scheduled_pins_its_actions_and_runs_one_at_a_time():
    """And its secrets are the variables that MLflow reads; nothing of the repository may be written."""
    [workflow] = map(yaml.safe_load, blocks("yaml"))
    assert re.fullmatch(r"(\S+ ){4}\S+", workflow[True]["schedule"][0]["cron"])  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]
    [job] = workflow["jobs"].values()
    assert set(job["env"]) == {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in uses)


def test_cron_line_and_workflow_run_the_same_entry_point():
    """Five fields of time, then a command that changes into the project; both name the source and the experiment."""
    [line] = [line for block in blocks("cron") for line in block.splitlines() if not line.startswith("#")]
    *times, command = line.split(maxsplit=5)
    assert len(times) == 5 and all(re.fullmatch(r"[\d*/,-]+", field) for field in times)
    for text in (command.partition(">>")[0], scheduled()):
        words = shlex.split(text.replace("\\\n", " "))
        assert "refresh" in words and "source=tlc" in words


@pytest.mark.slow
def test_the_scheduled_command_runs(place, site):
    """As it stands in the workflow, with this environment for its manager: the first model, then nothing to do."""
    for month in ("2023-01", "2023-02", "2023-03"):
        publish(site, month, rows=2000)
    words = shlex.split(scheduled().replace("\\\n", " "))
    assert words[:3] == [".venv/bin/mlflow", "run", "."]
    words[0], words[2] = str(LAUNCHER), str(ROOT)
    words[words.index("--env-manager") + 1] = "local"
    variables = environment({"MLFLOW_TRACKING_URI": place.store, "PATH": os.environ["PATH"]})
    for said in ("version 1 (champion): there was no champion yet", "fresh: "):
        log = place.folder / "log"
        log.unlink(missing_ok=True)
        with background([*words, "-P", "max_evals=2"], log, variables, place.folder) as running:
            assert running.wait(PATIENCE_SECONDS) == 0, log.read_text()[-3000:]
        assert said in log.read_text()
