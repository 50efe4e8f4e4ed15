"""Long work says how far it is and how long it will take, on stderr; short work and quiet work say nothing."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from provenance.record.artifacts import log_folder
from runtime import progress
from taxi.sources.locate import known_digests


@pytest.fixture
def at_once(monkeypatch):
    """As if everything took long enough to be told, and nobody had asked this process to be quiet before."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", -1)
    monkeypatch.setattr(progress, "_wanted", True)


def told(capsys) -> list[str]:
    return [line.partition(", ")[0] for line in capsys.readouterr().err.splitlines()]


def test_what_is_counted_is_told_as_it_is_used(at_once, capsys):
    """Once an item was dealt with, not when it was handed out."""
    seen = []
    for item in progress.counted([1, 3], "weigh", 4, "kg", size=int):
        seen.append((item, told(capsys)))
    assert seen == [(1, []), (3, ["weigh: 20 % of 4 kg"])]
    assert told(capsys) == ["weigh: 100 % of 4 kg"]


def test_a_process_that_is_told_to_be_quiet_is(at_once, capsys):
    """Whatever shows progress, wherever; until it is told otherwise."""
    progress.show(False)
    try:
        list(progress.counted([1], "weigh", 1, "kg"))
        progress.bar("fetch", 1, "B").update(1)
        assert told(capsys) == []
    finally:
        progress.show(True)
    list(progress.counted([1], "weigh", 1, "kg"))
    assert told(capsys) == ["weigh: 100 % of 1 kg"]


def test_a_process_beside_one_that_draws_prints_lines(monkeypatch):
    """And those started later draw again."""
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True))
    with progress.as_lines():
        with progress.as_lines():
            pass
        assert isinstance(progress.bar("weigh", 4, "kg"), progress.Lines)
    monkeypatch.undo()
    assert progress.AS_LINES not in os.environ


def test_steps_are_numbered_and_not_estimated(capsys, monkeypatch):
    """They take unlike times: of what is left nothing can be said from the first of them."""
    monkeypatch.setattr(progress, "_wanted", True)
    lines = [capsys.readouterr().err for _ in progress.numbered(["preprocess", "train"], "main")]
    assert lines == ["main: step 1 of 2 (preprocess)\n", "main: step 2 of 2 (train)\n"]
    progress.show(False)
    assert list(progress.numbered([3, 4], "main")) == [3, 4]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("n", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1200, "1,200 trials")])
def test_one_is_no_plural(n, text):
    assert progress.number_of(n, "trial") == text


def test_a_folder_that_somebody_else_fills_is_watched(at_once, capsys, monkeypatch, tmp_path):
    """MLflow downloads without a word."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    with progress.growing("fetch x", tmp_path, lambda: 8):
        for number in range(2):
            (tmp_path / str(number)).write_bytes(b"1234")
            lines: list[str] = []
            deadline = time.monotonic() + 20
            while not lines and time.monotonic() < deadline:
                time.sleep(0.01)
                lines = told(capsys)
            assert lines == [f"fetch x: {50 * (number + 1)} % of 8 B"]


def test_a_store_that_cannot_say_how_much_comes_is_nobodys_trouble(at_once, tmp_path):
    """The download is what matters."""

    def total():
        raise OSError("no answer")

    with progress.growing("fetch x", tmp_path, total):
        pass


def test_keeping_an_artifact_is_told_and_its_manifest_comes_last(at_once, capsys, client, tmp_path, monkeypatch):
    """By bytes; the order of the files is what makes a half-kept one show."""
    for name, size in {"a.json": 2, "sub/b": 4, "sub/deep/c": 2, "z": 2}.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_bytes(bytes(size))
    kept, keep = [], client.log_artifact
    monkeypatch.setattr(client, "log_artifact", lambda *words: (kept.append(words[1:]), keep(*words)))
    run = client.create_run("1")
    output = log_folder(client, run.info.run_id, tmp_path / "made", "made", last="a.json")
    assert told(capsys) == [f"keep made: {tenths} % of 10 B" for tenths in (40, 60, 80, 100)]
    assert os.path.basename(kept[-1][0]) == "a.json"
    there = client.download_artifacts(run.info.run_id, "made")
    found = [os.path.relpath(os.path.join(base, name), there) for base, _, names in os.walk(there) for name in names]
    assert sorted(found) == sorted(output.files) == ["a.json", "sub/b", "sub/deep/c", "z"]


def test_digesting_months_is_told(at_once, capsys, tmp_path):
    """Gigabytes of them take a while."""
    (tmp_path / "green_tripdata_2023-01.parquet").write_bytes(b"12345")
    known_digests(str(tmp_path), "green", ["2023-01"])
    assert told(capsys) == ["digest months: 100 % of 5 B"]


def test_a_terminal_gets_a_bar(at_once, monkeypatch):
    """One that is redrawn, with an estimate: tqdm's."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.bar("fetch", 10, "B")
    assert type(bar).__module__.startswith("tqdm")
    bar.close()
