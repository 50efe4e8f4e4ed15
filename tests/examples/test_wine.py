"""A second project on the same engine: its own data, family and metric."""

import pytest

from provenance.record import names
from tests.support.project import ROOT, Workplace, workplace

WINE = ROOT / "examples" / "wine"
MOST_LINES = 150  # of Python, blank ones counted
SMALL = {"max_evals": "4", "top_n": "2"}


def test_a_project_is_a_hundred_and_fifty_lines():
    """What is generic lies in the engine; links to it are not followed here."""
    files = [*WINE.glob("steps/*.py"), *WINE.glob("wine/*.py"), *WINE.glob("*.py")]
    assert sum(len(file.read_text().splitlines()) for file in files) <= MOST_LINES


def test_it_has_no_copy_of_the_engine():
    for name in ("provenance", "search", "runtime", "conda.yaml", "requirements.lock"):
        assert (WINE / name).is_symlink() and (WINE / name).resolve() == ROOT / name


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store) -> Workplace:
    return workplace(tmp_path_factory.mktemp("wine") / "place", migrated_store)


def test_the_chain_runs_is_reused_and_comes_out_identical(place):
    """The four steps, the engine's code among their records; plan, compare and reproduce work, too."""
    first = place.run("main", WINE, **SMALL)
    assert first.exit_code == 0, first.stderr
    version = place.client.get_model_version_by_alias("wine", names.CHAMPION)
    assert float(version.tags["test_accuracy"]) > 0.8
    plan = place.run("plan", WINE, **SMALL)
    assert plan.stdout.count("reuse run") == 4
    again = place.run("main", WINE, **SMALL)
    assert again.stderr.count(": reused run") == 4
    compared = place.run("compare", WINE, a=first.run_id, b=again.run_id)
    assert "no difference" in compared.stdout
    reproduced = place.run("reproduce", WINE, run_id=first.run_id, depth="all", patch="true")
    assert reproduced.exit_code == 0, reproduced.errors()
    assert "grade identical" in reproduced.stdout
