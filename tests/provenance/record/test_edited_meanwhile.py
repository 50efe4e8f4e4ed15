"""Code or packages that are edited while a run works or waits for its turn: the run ends, and nobody can use it."""

from __future__ import annotations

import io
import subprocess
import threading
import time
from pathlib import Path

import pytest

from provenance.record import names
from tests.support.project import LAUNCHER, Workplace, copied, environment, workplace

EDITED = ("taxi/features/fitting.py", "taxi/months/month.py")


def start(place: Workplace, project: Path, *words: str) -> subprocess.Popen:
    command = [LAUNCHER, "run", project, "-e", "preprocess", "--env-manager", "local", *words]
    return subprocess.Popen(command, cwd=place.folder, env=environment(), text=True, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)  # fmt: skip


def wait_for(step: subprocess.Popen, words: str) -> str:
    said = ""
    for line in step.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(f"ended without saying {words!r}: {said[-3000:]}")


def edit(project: Path) -> None:
    for name in EDITED:
        (project / name).write_text((project / name).read_text() + "\nMEANWHILE = True\n")


def assert_unusable(place: Workplace) -> None:
    for run in place.client.search_runs(["0"]):
        assert run.info.status == "FAILED"
        assert names.OUTPUTS not in run.data.tags


LINE = "Error: the code was changed while this run worked or waited: taxi/features/fitting.py, taxi/months/month.py\n"


def test_code_that_is_edited_while_a_run_works(tmp_path, migrated_store):
    """Which of it the run has used is not known."""
    place, project = workplace(tmp_path / "place", migrated_store), copied(tmp_path / "project")
    step = start(place, project, "-P", "source=sample:100000")
    wait_for(step, "train 2023-01: kept")
    edit(project)
    _, err = step.communicate(timeout=300)
    assert step.returncode == 1
    assert LINE in err
    assert "Traceback" not in err[err.index(LINE) :].split("\n20")[0]
    assert_unusable(place)


@pytest.mark.slow
def test_code_that_is_edited_while_a_run_waits_for_its_turn(tmp_path, migrated_store):
    """It imports late, and would run what nobody recorded, under the key of the old code."""
    place, project = workplace(tmp_path / "place", migrated_store), copied(tmp_path / "project")
    pair = [start(place, project, "-P", "source=sample:1000000") for _ in range(2)]
    said = [io.StringIO(), io.StringIO()]
    readers = [
        threading.Thread(target=lambda step=step, out=out: out.writelines(step.stderr))
        for step, out in zip(pair, said, strict=True)
    ]
    for reader in readers:
        reader.start()
    while not any("waiting for run" in out.getvalue() for out in said):
        assert None in [step.poll() for step in pair], [out.getvalue()[-3000:] for out in said]
        time.sleep(0.05)
    edit(project)
    for step, reader, out in zip(pair, readers, said, strict=True):
        reader.join(600)
        assert step.wait(60) == 1
        assert LINE in out.getvalue()
    assert_unusable(place)
