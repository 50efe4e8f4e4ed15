"""A second project on the same engine: its own data, family and metric."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from provenance.record import names
from tests.support import repository
from tests.support.processes import git_daemon
from tests.support.project import LAUNCHER, ROOT, Workplace, copied, workplace
from tests.support.research_object import issues, serve_contexts

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


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A repository with all of this, committed."""
    folder = copied(tmp_path_factory.mktemp("published") / "project")
    repository.commit(folder)
    return folder


def test_the_chain_runs_is_reused_and_comes_out_identical(place, published, tmp_path, monkeypatch):
    """The four steps, then every question: plan, compare, reproduce, impact, bundle (an RO-Crate), verify."""
    wine = published / "examples" / "wine"
    first = place.run("main", wine, **SMALL)
    assert first.exit_code == 0, first.stderr
    version = place.client.get_model_version_by_alias("wine", names.CHAMPION)
    assert float(version.tags["test_accuracy"]) > 0.8
    plan = place.run("plan", wine, **SMALL)
    assert plan.stdout.count("reuse run") == 4
    again = place.run("main", wine, **SMALL)
    assert again.stderr.count(": reused run") == 4
    compared = place.run("compare", wine, a=first.run_id, b=again.run_id)
    assert "no difference" in compared.stdout
    reproduced = place.run("reproduce", wine, run_id=first.run_id, depth="all")
    assert reproduced.exit_code == 0, reproduced.errors()
    assert "grade identical" in reproduced.stdout
    impact = place.run("impact", wine, of="wine.csv")
    assert "  served now: models:/wine/1 (candidate, champion)" in impact.stdout, impact.stdout + impact.errors()
    assert "  came of it: 1 dataset, 1 search, 4 models, 1 version, 4 trials" in impact.stdout, impact.stdout
    bundled = place.run("bundle", wine, run_id=first.run_id, out=tmp_path / "run.zip")
    assert bundled.exit_code == 0 and (tmp_path / "run.zip").is_file(), bundled.errors()
    refused = serve_contexts(monkeypatch)
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        archive.extractall(tmp_path / "crate")
    assert issues(tmp_path / "crate") == [] and refused == []
    verified = place.run("verify", wine, require="metrics")
    assert verified.exit_code == 0, verified.stdout + verified.errors()


@pytest.mark.slow
def test_from_a_git_url_it_is_bundled_for_an_empty_store(published, tmp_path, migrated_store):
    """The bundle gives the same in a store that has nothing."""
    place = workplace(tmp_path / "place", migrated_store)
    with git_daemon(published.parent) as url:
        made = place.run("main", f"{url}/{published.name}#examples/wine")
    assert made.exit_code == 0, made.stderr
    wine = published / "examples" / "wine"
    bundled = place.run("bundle", wine, run_id=made.run_id, out=tmp_path / "run.zip", repo=published)
    assert bundled.exit_code == 0, bundled.errors()
    empty = workplace(tmp_path / "empty", migrated_store)
    reproduced = empty.run("reproduce", wine, bundle=tmp_path / "run.zip")
    assert reproduced.exit_code == 0 and "grade identical" in reproduced.stdout, reproduced.errors()


@pytest.mark.slow
def test_one_command_makes_a_project_of_ones_own(published, tmp_path, migrated_store):
    """It runs in a repository of its own, is reproduced, and takes a newer engine without losing what is its own."""
    own = tmp_path / "grapes"
    copier("copy", "--vcs-ref", "HEAD", "-d", "project_name=grapes", published, own, folder=tmp_path)
    repository.commit(own)
    assert (own / "MLproject").read_text().startswith("name: grapes\n") and not (own / "search").is_symlink()
    place = workplace(tmp_path / "place", migrated_store)
    made = place.run("main", own, **SMALL)
    assert made.exit_code == 0, made.stderr
    reproduced = place.run("reproduce", own, run_id=made.run_id, depth="all")
    assert "grade identical" in reproduced.stdout, reproduced.errors()

    for folder, comment in ((published / "examples" / "wine", "# theirs"), (own, "# mine")):
        path = folder / "wine" / "classifier.py"
        path.write_text(f"{path.read_text()}{comment}\n")
    (published / "provenance" / "newer.py").write_text("X = 1\n")
    repository.commit(published)
    repository.commit(own)
    copier("update", "--defaults", "--vcs-ref", "HEAD", folder=own)
    assert (own / "provenance" / "newer.py").is_file()
    assert (own / "wine" / "classifier.py").read_text().endswith("# mine\n")


def copier(*words: object, folder: Path) -> None:
    """The version that docs/your-own.md names."""
    [version, *_] = [word for word in (ROOT / "docs" / "your-own.md").read_text().split() if word.startswith("copier@")]
    command = [LAUNCHER.parent / "uvx", version, *words]
    subprocess.run(list(map(str, command)), cwd=folder, env=repository.ENVIRONMENT, check=True, capture_output=True)
