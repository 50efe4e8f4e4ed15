"""The course's homework whole, through the real `mlflow run`."""

import pytest

from provenance.record import names
from steps.course import PUBLISHED
from tests.support.project import Result, Workplace, workplace

pytestmark = pytest.mark.slow
NAME = "nyc-taxi-duration-course"


def table(result: Result) -> dict[str, tuple[str, str]]:
    """Answer -> (published, reproduced), as printed."""
    rows = [line for line in result.stdout.splitlines() if line[:34].strip() in PUBLISHED]
    return {line[:34].strip(): (line[34:44].strip(), line[44:55].strip()) for line in rows}


def steps_of(place: Workplace, result: Result) -> list[str]:
    query = f"tags.`{names.PARENT}` = '{result.run_id}'"
    return sorted(run.data.tags[names.STEP] for run in place.client.search_runs(["0"], query))


def test_every_published_answer_comes_out_again(tlc, tmp_path, migrated_store):
    """Eight answers, digit for digit, from TLC's own months; a version is made; a second time nothing runs."""
    place = workplace(tmp_path, migrated_store)
    first = place.run("course", source=tlc, quiet="true")
    assert first.exit_code == 0, first.stdout + first.stderr
    assert table(first) == {name: (answer, answer) for name, answer in PUBLISHED.items()}
    assert "DIFFERS" not in first.stdout
    assert steps_of(place, first) == ["hpo", "preprocess", "preprocess", "register", "train"]
    [version] = place.client.search_model_versions(f"name = '{NAME}'")
    assert version.tags["test_rmse"].startswith(PUBLISHED["lowest test RMSE"][:4])
    second = place.run("course", source=tlc, quiet="true")
    assert second.exit_code == 0, second.stdout + second.stderr
    assert table(second) == table(first)
    assert steps_of(place, second) == []


def test_other_months_give_other_answers(tmp_path, migrated_store):
    """Each that differs is marked, the next thing to look at is said, and the exit code is 1."""
    result = workplace(tmp_path, migrated_store).run("course", source="sample:600", quiet="true")
    assert result.exit_code == 1
    assert table(result).keys() == PUBLISHED.keys()
    assert all(published == PUBLISHED[name] != again for name, (published, again) in table(result).items())
    assert result.stdout.count("  DIFFERS") == len(PUBLISHED)
    assert "The answers differ: compare the months' sha256" in result.stderr
