"""Scratch folders and what a killed process leaves."""

import subprocess
import sys
import tempfile

import pytest

from runtime.scratch import scratch_folder
from tests.support.project import ROOT

KILLED = """
import os, signal, sys
from runtime.scratch import scratch_folder
with scratch_folder("splits") as folder:
    (folder / "array").write_bytes(b"much")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary place of the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_scratch_folder_is_gone_after_its_block(temporary):
    """With all that was written into it, also when the block raises."""
    with pytest.raises(KeyError), scratch_folder("splits") as folder:
        (folder / "array").write_bytes(b"much")
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_the_next_one_clears_what_a_killed_process_left(temporary):
    """Gigabytes would stay for good after each kill -9."""
    subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False)
    assert len(list(temporary.glob("splits-*/content/array"))) == 1
    with scratch_folder("splits"):
        assert list(temporary.glob("splits-*/content/array")) == []


def test_a_living_owner_keeps_its_folder(temporary):
    """Two searches on one machine."""
    with scratch_folder("splits") as one, scratch_folder("splits") as two:
        assert one.is_dir() and two.is_dir() and one != two


def test_a_scratch_folder_beside_a_file_is_cleared_up_as_well(temporary, tmp_path):
    """In any place, also for names that a pattern would take for one."""
    place = tmp_path / "out"
    place.mkdir()
    killed = KILLED.replace('"splits"', f"'.a [b]*.part', __import__('pathlib').Path({str(place)!r})")
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False).returncode == -9
    (place / ".a b.part-other").mkdir()
    assert len(list(place.iterdir())) == 2
    with scratch_folder(".a [b]*.part", place) as mine:
        assert len(list(place.iterdir())) == 2
        assert mine.is_relative_to(place)
    assert [path.name for path in place.iterdir()] == [".a b.part-other"]
