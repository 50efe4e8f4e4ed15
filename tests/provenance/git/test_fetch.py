"""One exact commit of a remote, with nothing asked, run or kept besides."""

import functools
import http.server
import threading

import pytest

from provenance.git.command import CodeSourceError, git
from provenance.git.fetch import fetch, published
from tests.support.repository import commit, run, tree, write

pytestmark = pytest.mark.usefixtures("nobodys_git_configuration")


@pytest.fixture
def remote(tmp_path):
    """A repository whose branch has two commits, and a third that no branch holds any more."""
    root = tmp_path / "remote"
    commit(root, {"a": b"1\n"})
    commit(root, {"a": b"2\n"})
    commit(root, {"a": b"lost\n"})
    run(root, "reset", "-q", "--hard", "HEAD~1")
    return root


def lost(remote):
    return run(remote, "rev-parse", "HEAD@{1}")


@pytest.mark.parametrize("spell", ["{}", "{}/", "{}/.git", "file://{}"])
@pytest.mark.parametrize(("which", "content"), [("HEAD", b"2\n"), ("HEAD~1", b"1\n"), ("HEAD@{1}", b"lost\n")])
def test_exactly_the_commit_is_checked_out(remote, tmp_path, spell, which, content):
    """The newest, an older one, and one that no branch holds any more; by path or URL."""
    wanted = run(remote, "rev-parse", which)
    clone = fetch(spell.format(remote), wanted, tmp_path / "new" / "clone")
    assert tree(clone) == {"a": ("file", content)}
    assert run(clone, "rev-parse", "HEAD") == wanted
    assert run(clone, "status", "--porcelain") == ""


def test_a_shallow_clone_serves_what_it_has(remote, tmp_path):
    """MLflow's own clones are of depth 1; one can be the remote."""
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{remote}", "shallow")
    clone = fetch(str(tmp_path / "shallow"), run(remote, "rev-parse", "HEAD"), tmp_path / "clone")
    assert tree(clone) == {"a": ("file", b"2\n")}


@pytest.mark.parametrize("refs", ["main", "HEAD"])
def test_a_bundle_is_a_remote(remote, tmp_path, refs):
    """A git bundle in a file holds all it takes, whether it names a branch or only HEAD, also for an older commit."""
    run(remote, "bundle", "create", "-q", str(tmp_path / "code.bundle"), refs)
    clone = fetch(str(tmp_path / "code.bundle"), run(remote, "rev-parse", "HEAD~1"), tmp_path / "clone")
    assert tree(clone) == {"a": ("file", b"1\n")}


@pytest.fixture
def plain_server(remote):
    """The URL of the repository on a web server that knows nothing of git: it gives no single commits, and no depth."""
    run(remote, "update-server-info")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=remote)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://ada:secret@127.0.0.1:{server.server_port}/.git"  # pragma: allowlist secret
        server.shutdown()


def test_a_server_that_gives_no_single_commit_is_fetched_in_full(remote, tmp_path, plain_server):
    """The commit is found in the whole history, and the password stays out of the clone."""
    clone = fetch(plain_server, run(remote, "rev-parse", "HEAD~1"), tmp_path / "clone")
    assert tree(clone) == {"a": ("file", b"1\n")}
    assert b"secret" not in b"".join(path.read_bytes() for path in (clone / ".git").rglob("*") if path.is_file())


def test_a_commit_that_is_nowhere_is_told_without_the_password(tmp_path, plain_server):
    """What, where and what next; the folder is gone again."""
    with pytest.raises(CodeSourceError) as error:
        fetch(plain_server, "a" * 40, tmp_path / "clone")
    assert str(error.value).startswith(f"Commit {'a' * 40} cannot be had from http://127.0.0.1:")
    assert str(error.value).endswith("Pass -P repo= with a repository that has it.")
    assert "secret" not in str(error.value)
    assert not (tmp_path / "clone").exists()


def test_a_tree_or_tag_id_is_no_commit(remote, tmp_path):
    """Forty digits that name something else are refused after the fetch."""
    with pytest.raises(CodeSourceError, match="cannot be had from"):
        fetch(str(remote), run(remote, "rev-parse", "HEAD^{tree}"), tmp_path / "clone")


def test_a_folder_in_use_is_left_alone(remote, tmp_path):
    """Nothing is fetched over somebody's files."""
    write(tmp_path / "clone", {"mine": b"1"})
    with pytest.raises(CodeSourceError, match=r"is not empty\. Give a new folder"):
        fetch(str(remote), run(remote, "rev-parse", "HEAD"), tmp_path / "clone")
    assert tree(tmp_path / "clone") == {"mine": ("file", b"1")}


@pytest.mark.parametrize(
    ("url", "sha"),
    [("--upload-pack=touch ran", "a" * 40), ("ext::sh -c touch% ran", "a" * 40), ("{}", "--upload-pack=touch ran"),
     ("{}", "main"), ("{}\n", "a" * 40)],
)  # fmt: skip
def test_hostile_words_are_refused_before_git_is_started(remote, tmp_path, monkeypatch, url, sha):
    """Nothing runs and nothing is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CodeSourceError):
        fetch(url.format(remote), sha, tmp_path / "clone")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["remote"]


@pytest.mark.parametrize("url", ["ext::sh -c touch% ran", "git-remote-x://y"])
def test_git_itself_would_refuse_too(tmp_path, url):
    """Should a check above be passed, the transport is still not allowed."""
    with pytest.raises(CodeSourceError):
        git("ls-remote", "--", url, cwd=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_no_hook_filter_or_submodule_is_run(remote, tmp_path, monkeypatch):
    """Neither templates and hooks of the user nor submodules of the commit come into play."""
    mark, template = tmp_path / "ran", tmp_path / "template"
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        write(template, {f"hooks/{name}": f"#!/bin/sh\ntouch {mark}\n".encode()})
        (template / "hooks" / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(
        f"[init]\n templateDir = {template}\n[core]\n hooksPath = {template}/hooks\n[submodule]\n recurse = true\n"
    )
    write(remote, {".gitmodules": f'[submodule "s"]\n path = s\n url = {remote}\n'.encode()})
    run(remote, "update-index", "--add", "--cacheinfo", f"160000,{run(remote, 'rev-parse', 'HEAD')},s")
    run(remote, "add", ".gitmodules")
    run(remote, "commit", "-q", "-m", "A submodule")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    clone = fetch(str(remote), run(remote, "rev-parse", "HEAD"), tmp_path / "clone")
    assert not mark.exists()
    assert sorted(tree(clone)) == [".gitmodules", "a"]


def test_variables_of_another_repository_are_not_followed(remote, tmp_path, monkeypatch):
    """Started from a git hook, the fetch still goes into its own folder."""
    commit(tmp_path / "other", {"b": b"1"})
    before = tree(tmp_path / "other" / ".git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext")
    fetch(str(remote), lost(remote), tmp_path / "clone")
    assert tree(tmp_path / "other" / ".git") == before


def test_a_commit_of_a_branch_or_tag_is_published(remote):
    """An older commit of a branch is; one taken back, or from elsewhere, is not, unless a tag keeps it."""
    assert published(str(remote), run(remote, "rev-parse", "HEAD~1"))
    assert not published(str(remote), lost(remote))
    assert not published(str(remote), "a" * 40)
    run(remote, "tag", "kept", lost(remote))
    assert published(str(remote), lost(remote))


def test_asking_whether_a_commit_is_published_needs_the_remote(tmp_path):
    """A remote that cannot be read is an error, not a no."""
    with pytest.raises(CodeSourceError, match="git ls-remote failed"):
        published(str(tmp_path / "nowhere"), "a" * 40)
