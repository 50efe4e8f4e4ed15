"""Which commits count as the repository's own: what its remote, or the user's own branch, stands behind."""

import shutil
from types import SimpleNamespace

import pytest

from provenance.git.fetch import published
from provenance.reproduce.recorded_code import CodeRefused, RecordedCode
from provenance.reproduce.recorded_run import RecordedRun
from tests.support import repository
from tests.support.processes import git_daemon
from tests.support.records import made

pytestmark = pytest.mark.usefixtures("nobodys_git_configuration")

FILES = {"MLproject": b"name: x\n", "steps/train.py": b"x = 1\n"}


@pytest.fixture
def place(tmp_path):
    """A repository, a stranger's pull request to it (on no branch), a fork with a branch and a tag, and my clone."""
    origin, fork, mine = (tmp_path / "repositories" / name for name in ("origin", "fork", "mine"))
    first = repository.commit(origin, FILES)
    second = repository.commit(origin, {"README.md": b"2\n"})
    repository.run(tmp_path, "clone", "-q", str(origin), str(fork))
    repository.run(tmp_path, "clone", "-q", str(origin), str(mine))
    evil = repository.commit(fork, {"steps/train.py": b"evil = 1\n"})
    repository.run(fork, "tag", "v1")
    repository.run(fork, "push", "-q", "origin", "HEAD:refs/pull/5/head")
    return SimpleNamespace(origin=origin, fork=fork, mine=mine, first=first, second=second, evil=evil, base=tmp_path)


def checked_out(place, commit: str, remote: str | None = "", **settings):
    """The project that a run with this record is given, in my clone."""
    said = []
    session = SimpleNamespace(root=place.mine, say=said.append)
    record = {"commit": commit, "remote": str(place.origin) if remote == "" else remote, "branch": None, "folder": "",
              "dirty": False, "patch": None, "tree": None, "note": None}  # fmt: skip
    code = RecordedCode(session, place.base / "code", **settings)
    return code.project(RecordedRun(made(source=record), {}))


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_commit_of_the_remotes_branch_is_its_own(place, which):
    """The newest and an older one."""
    assert (checked_out(place, getattr(place, which)) / "steps/train.py").read_bytes() == b"x = 1\n"


FETCHED = {
    "a pull request": ["fetch", "-q", "origin", "pull/5/head"],
    "pull requests, as if of the remote": ["fetch", "-q", "origin", "+refs/pull/*/head:refs/remotes/origin/pr/*"],
    "a fork": ["fetch", "-q", "--tags", "../fork", "+refs/heads/*:refs/remotes/fork/*"],
}  # fmt: skip


@pytest.mark.parametrize("remote", ["", None])
@pytest.mark.parametrize("how", FETCHED)
def test_a_strangers_commit_that_lies_in_the_clone_is_refused(place, how, remote):
    """Fetched to look at it, with whatever names git gave it; also when the record names no remote."""
    repository.run(place.mine, *FETCHED[how])
    repository.run(place.mine, "cat-file", "-e", place.evil)
    with pytest.raises(CodeRefused, match=r"-P repo=") as refusal:
        checked_out(place, place.evil, remote)
    assert str(place.mine) in str(refusal.value)  # what to pass if it is trusted
    assert (
        checked_out(place, place.evil, remote, repo=str(place.mine)) / "steps/train.py"
    ).read_bytes() == b"evil = 1\n"


def test_a_strangers_commit_that_only_the_remote_has_is_refused(place):
    """The remote gives it by its id: it is on none of its branches and tags."""
    with pytest.raises(CodeRefused, match="is on no branch or tag of"):
        checked_out(place, place.evil)


def test_once_accepted_it_is_the_remotes(place):
    """Merged into a branch, or tagged, over there; the clone need not know it yet."""
    repository.run(place.origin, "branch", "accepted", place.evil)
    assert checked_out(place, place.evil).is_dir()


@pytest.mark.parametrize("state", ["on a branch", "checked out alone", "below what is checked out alone"])
def test_my_own_commit_that_is_not_pushed_is_mine(place, state):
    """On a local branch, or what is checked out here."""
    if state != "on a branch":
        repository.run(place.mine, "checkout", "-q", "--detach")
    own = repository.commit(place.mine, {"steps/train.py": b"x = 2\n"})
    if state.startswith("below"):
        repository.commit(place.mine, {"steps/train.py": b"x = 3\n"})
    assert (checked_out(place, own) / "steps/train.py").read_bytes() == b"x = 2\n"


def test_a_commit_that_i_took_back_is_on_no_branch(place):
    """After `git commit --amend` it could be anybody's; the error names what to pass."""
    own = repository.commit(place.mine, {"steps/train.py": b"x = 2\n"})
    repository.run(place.mine, "commit", "-q", "--amend", "-m", "Another")
    with pytest.raises(CodeRefused, match="is on no branch or tag of"):
        checked_out(place, own)
    assert checked_out(place, own, repo=str(place.mine)).is_dir()


def test_a_tag_counts_where_there_is_no_remote(place):
    """With one, git takes tags of everything it fetches."""
    own = repository.commit(place.mine, {"steps/train.py": b"x = 2\n"})
    repository.run(place.mine, "tag", "kept")
    repository.run(place.mine, "reset", "-q", "--hard", "HEAD~1")
    with pytest.raises(CodeRefused):
        checked_out(place, own, None)
    repository.run(place.mine, "remote", "remove", "origin")
    assert checked_out(place, own, None).is_dir()


def test_a_remote_that_does_not_answer_is_said_with_the_way_out(place):
    """Offline nobody can say whose a commit is; one's own still are."""
    repository.run(place.mine, "fetch", "-q", "origin", "pull/5/head")
    shutil.move(place.origin, place.base / "away")
    with pytest.raises(CodeRefused) as refusal:
        checked_out(place, place.evil)
    assert f"{place.origin} cannot be asked whether commit {place.evil} is on a branch or tag of it" in str(
        refusal.value
    )
    assert f"pass -P repo= with a repository that has the commit (this checkout is {place.mine})" in str(refusal.value)
    assert checked_out(place, place.first).is_dir()  # on my own branch


def test_a_server_is_asked_for_the_little_that_is_not_known_here(place, monkeypatch):
    """Its branches' ids are enough where the clone has their history; else the history is fetched, without files."""
    from provenance.git import fetch

    fetched = []
    real = fetch._from
    monkeypatch.setattr(fetch, "_from", lambda *words: fetched.append(words[2:]) or real(*words))
    with git_daemon(place.origin.parent) as prefix:
        url = f"{prefix}/origin"
        assert published(url, place.second)
        assert published(url, place.first, place.mine)
        assert fetched == []
        newest = repository.commit(place.origin, {"README.md": b"3\n"})
        assert published(url, newest, place.mine)
        assert fetched == []
        repository.commit(place.origin, {"README.md": b"4\n"})
        assert published(url, newest, place.mine)
        assert not published(url, place.evil, place.mine)
    assert [words[0] for words in fetched] == ["--filter=tree:0"] * 2
