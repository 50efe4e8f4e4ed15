"""The homework's page: published answers beside reproduced ones."""

from types import SimpleNamespace

import pytest

from steps import course


@pytest.fixture
def made(monkeypatch) -> dict:
    """Steps that found what was published, but for the lowest test RMSE."""
    rows = {name: text for name, text in course.PUBLISHED.items() if name.startswith("rows")}
    monkeypatch.setattr(course, "rows", lambda hit: rows)
    found = {"hpo": {"val_rmse": 5.335}, "register": {"test_rmse": 5.6}, "linear train": {"val_rmse": 7.7587}}
    return {step: SimpleNamespace(metrics=found.get(step, {})) for step in ("preprocess", "linear preprocess", *found)}


def test_the_page_says_how_many_answers_came_out_again_and_shows_each(made):
    """The one that differs is marked."""
    result, table = course.about(None, made)
    assert result == "**7 of 8** published answers came out again, digit for digit."
    lines = table.splitlines()
    assert len(lines) == 2 + len(course.PUBLISHED)
    assert "| best validation RMSE | 5.335 | 5.335 |  |" in lines
    assert "| lowest test RMSE | 5.567 | 5.600 | **differs** |" in lines


def test_one_answer_that_differs_fails_the_run(made, capsys):
    """The same answers on stdout."""
    assert course.conclude(None, made) == 1
    assert "lowest test RMSE                       5.567      5.600  DIFFERS" in capsys.readouterr().out
