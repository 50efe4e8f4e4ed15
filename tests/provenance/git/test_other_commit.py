"""Another commit of the repository is checked out by any of its names, and nothing else is."""

import pytest

from provenance.git.command import CodeSourceError
from provenance.git.other_commit import other_commit
from tests.support import repository

pytestmark = pytest.mark.usefixtures("nobodys_git_configuration")


@pytest.fixture
def project(tmp_path):
    """Two commits with the project in a subfolder; the second has uncommitted changes."""
    top = tmp_path / "repository"
    repository.commit(top, {"part/MLproject": b"name: one\n"})
    repository.run(top, "tag", "first")
    (top / "part/MLproject").write_text("name: two\n")
    repository.commit(top)
    (top / "part/MLproject").write_text("name: three\n")
    return top / "part"


@pytest.mark.parametrize("name", ["first", "HEAD~1", "main~1"])
def test_the_commit_is_checked_out_beside_the_work_tree(project, tmp_path, name):
    commit, other = other_commit(project, name, tmp_path / "other")
    assert commit == repository.run(project, "rev-parse", "first")
    assert (other / "MLproject").read_text() == "name: one\n"
    assert (project / "MLproject").read_text() == "name: three\n"


@pytest.mark.parametrize("name", ["origin/main", "--output=x", "", "a b", "HEAD:part/MLproject", "0" * 40])
def test_an_unknown_commit_is_refused_with_the_remedy(project, tmp_path, name):
    with pytest.raises(CodeSourceError, match=r"is no commit of this checkout\n Fetch it: git fetch .*fetch-depth: 0"):
        other_commit(project, name, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_commit_without_the_project_is_refused(project, tmp_path):
    repository.run(project, "rm", "-q", "-f", "MLproject")
    commit = repository.commit(project.parent, {"x": b""})
    repository.commit(project.parent, {"part/MLproject": b"name: four\n"})
    with pytest.raises(CodeSourceError, match="has no MLproject in folder part"):
        other_commit(project, commit, tmp_path / "other")


def test_a_plain_folder_is_refused(tmp_path):
    with pytest.raises(CodeSourceError, match="is in no git checkout"):
        other_commit(tmp_path, "HEAD", tmp_path / "other")
