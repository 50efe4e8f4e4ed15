"""How much memory is free, and how many workers it holds."""

import pytest

from runtime import memory


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "5000", "memory.current": "2000"}, 3000),
        ({"memory/memory.limit_in_bytes": "700", "memory/memory.usage_in_bytes": "800"}, 0),
    ],
)
def test_a_container_has_what_its_limit_leaves(tmp_path, files, free):
    """Not what the machine has: going over it ends the process."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert memory.available(tmp_path) == free


def test_without_a_limit_it_is_the_machines(tmp_path):
    """More than a megabyte is free here, and a group without a limit says `max`."""
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available(tmp_path) > 1_000_000


def test_there_is_always_one_worker(monkeypatch):
    """Three where three fit; one where none does, since the estimate may be too high."""
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert [memory.affordable(each) for each in (300, 2000)] == [3, 1]
