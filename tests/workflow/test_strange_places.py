"""A stranger's folder, shell and hands: names that mean something to MLflow or a shell, locales, Python's switches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from provenance.pipeline import launch
from provenance.record import names
from provenance.record.writer import named
from tests.support import repository
from tests.support.project import LAUNCHER, ROOT, copied, environment, workplace

# "#" begins a subfolder for MLflow, quotes and "$" mean something to shells, "ä" is none of ASCII's letters.
ODD = 'a "b" $HOME; #1.0 ä (c) &'
SAMPLE = {"source": "sample:1000", "model": "linear"}
COMMANDS = {
    name: spec["command"] for name, spec in yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"].items()
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["there", "from elsewhere"])
def test_a_chain_runs_in_any_folder_locale_and_with_safe_path(how, tmp_path, migrated_store):
    """From within the folder, its store beside it; and from elsewhere by a link that MLflow can read."""
    folder = copied(tmp_path / ODD)
    repository.commit(folder)
    place, uri = workplace(folder, migrated_store), "."
    if how == "from elsewhere":
        (tmp_path / "link").symlink_to(folder)
        place, uri = workplace(tmp_path / "place", migrated_store), tmp_path / "link"
    shell = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "ascii:strict"}
    words = [str(LAUNCHER), "run", str(uri), "-e", "train", "--env-manager", "local", "--run-name", "mine"]
    words += [word for name, value in SAMPLE.items() for word in ("-P", f"{name}={value}")]
    for _ in range(2):  # the second one reuses
        done = subprocess.run(words, cwd=place.folder, env=environment(shell), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
    runs = place.client.search_runs(["0"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.info.run_name for run in runs) == ["mine", "mine", "preprocess"]
    assert sum(names.REUSED in run.data.tags for run in runs) == 1


@pytest.mark.parametrize("name", ["plain", "a#b", "a 'b'", "'quoted'", "c.zip", "ä;$(x) #1.0"])
def test_a_folder_is_given_to_mlflow_as_it_finds_it(name, tmp_path):
    """As its own reading of the address shows; and this process is where it was afterwards."""
    from mlflow.projects.utils import _fetch_project

    (tmp_path / name).mkdir()
    before = os.getcwd()
    with launch.addressed(tmp_path / name) as uri:
        assert os.path.realpath(_fetch_project(uri)) == str(tmp_path / name)
    assert os.getcwd() == before


@pytest.mark.parametrize("entry_point", COMMANDS)
def test_every_command_finds_its_modules_and_writes_any_letter(entry_point):
    """With Python's safe path and without a locale, as a shell would start it; `exec` leaves no shell between."""
    command = COMMANDS[entry_point].partition(" --")[0]
    probe = command.replace(
        f"python -m steps.{entry_point}", "python -c 'import os, steps.options; print(\"ä\", os.getppid())'"
    )
    shell = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONSAFEPATH": "1"}
    done = subprocess.Popen(
        ["bash", "-c", "true && " + probe], cwd=ROOT, env=environment(shell), stdout=subprocess.PIPE
    )
    assert done.communicate()[0].decode().split() == ["ä", str(os.getpid())]


def test_the_launcher_speaks_utf_8_where_the_locale_does_not():
    """It begins anew once, and not for ever, whatever Python's switches say."""
    code = "import sys; sys.path.insert(0, '.'); from provenance.bootstrap.first_use_lock import in_utf8; in_utf8(); "
    code += "print(sys.getfilesystemencoding())"
    for switches in ([], ["-E"], ["-X", "utf8=0"]):
        shell = {"LC_ALL": "C", "PYTHONUTF8": "0"}
        command = [sys.executable, *switches, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=environment(shell), capture_output=True, text=True, timeout=60,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == ("ascii\n" if "-X" in switches else "utf-8\n")


def test_a_run_keeps_the_name_that_its_user_gave():
    """One that MLflow made up is the step's to replace; `--run-name` is not."""
    from types import SimpleNamespace

    from mlflow.utils.name_utils import _generate_random_name

    def run(name: str):
        return SimpleNamespace(data=SimpleNamespace(tags={names.RUN_NAME: name} if name else {}))

    for _ in range(2000):
        assert named(run(_generate_random_name()), "hpo") == {names.RUN_NAME: "hpo"}
    assert named(run(""), "hpo") == {names.RUN_NAME: "hpo"}
    for mine in ("mine", "green-taxi-12", "a-b", "--", "hpo"):
        assert named(run(mine), "hpo") == {}


@pytest.mark.slow
@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_chain_is_killed_and_says_what_was_kept(word, tmp_path, migrated_store):
    """Ctrl-C, a `timeout`, a terminal that closes: every run KILLED, and one line by the step that was asked for."""
    place, log = workplace(tmp_path / "place", migrated_store), tmp_path / "log"
    with place.started(log, "train", source="sample:400000", model="linear") as running:
        query = f"attributes.status = 'RUNNING' and tags.`{names.STEP}` = 'preprocess'"
        deadline = time.monotonic() + 240
        while not place.client.search_runs(["0"], query):
            assert time.monotonic() < deadline and running.poll() is None, log.read_text()
            time.sleep(0.1)
        os.killpg(running.pid, word)
        assert running.wait(60) != 0
        while {run.info.status for run in place.client.search_runs(["0"])} != {"KILLED"}:
            assert time.monotonic() < deadline, [run.info for run in place.client.search_runs(["0"])]
            time.sleep(0.1)
    time.sleep(15)  # whoever still writes one
    assert [run.info.status for run in place.client.search_runs(["0"])] == ["KILLED", "KILLED"]
    said = log.read_text()
    assert (
        said.count("interrupted: what is finished, steps and trials, is kept\n Run it again to go on from there.\n")
        == 1
    )
    assert "Traceback" not in said


def test_an_interrupted_step_ends_with_130(tmp_path, migrated_store):
    """Started by hand: its own run is KILLED, its exit code that of a shell."""
    place = workplace(tmp_path / "place", migrated_store)
    code = "import click\nfrom provenance.pipeline.cli import checked\n@click.command()\n@checked\ndef step():\n"
    code += " import mlflow, os, signal\n"
    code += " with mlflow.start_run(): os.kill(os.getpid(), signal.SIGTERM); signal.pause()\nstep()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment({"MLFLOW_TRACKING_URI": place.store}),
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-2:] == ["interrupted: what is finished, steps and trials, is kept",
                                             " Run it again to go on from there."]  # fmt: skip
    assert [run.info.status for run in place.client.search_runs(["0"])] == ["KILLED"]
