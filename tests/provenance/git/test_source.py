"""What is recorded of a checkout, and its tree restored from commit and patch."""

import hashlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance.git import source as sources
from provenance.git.source import CodeSourceError, Source, apply_patch, fetch, patch_summary
from tests.support import repository
from tests.support.repository import commit, owned_by_another, run, tree, write

pytestmark = pytest.mark.usefixtures("nobodys_git_configuration")

BINARY = bytes(range(256)) * 3


def read(root: Path) -> Source:
    """As of code that reads every file there."""
    return sources.read(root, tree(root))


def make_patch(root: Path) -> bytes:
    """As of code that reads every file there."""
    return sources.make_patch(root, tree(root))


@pytest.fixture
def project(tmp_path):
    """A committed project: a module, a binary file, a program, a link and a folder, with one ignored name."""
    root = tmp_path / "project"
    files = {
        "MLproject": b"name: taxi\n",
        "taxi/trips.py": b"x = 1\n",
        "taxi/zones.bin": BINARY,
        "run.sh": b"#!/bin/sh\n",
        "latest": "taxi/trips.py",
        ".gitignore": b"*.parquet\n__pycache__/\n",
    }
    write(root, files)
    (root / "run.sh").chmod(0o755)
    commit(root)
    return root


def restored(project: Path, where: Path) -> Path:
    """The tree of `project` from its commit and patch alone."""
    source, patch = read(project), make_patch(project)
    fetch(str(project), source.commit, where)
    assert apply_patch(where, patch) == source.tree
    return where


def test_a_clean_checkout_is_its_commit(project):
    """Commit, branch and tree are git's own; nothing is dirty."""
    assert read(project) == Source(
        commit=run(project, "rev-parse", "HEAD"),
        branch="main",
        folder="",
        tree=run(project, "rev-parse", "HEAD^{tree}"),
    )
    assert make_patch(project) == b""


def test_a_dirty_tree_is_restored_byte_for_byte(project, tmp_path):
    """A changed, an added (binary) and a deleted file come back exactly, and the restored tree reads the same."""
    (project / "taxi" / "trips.py").write_bytes(b"x = 2")
    (project / "new.bin").write_bytes(BINARY[::-1])
    (project / "MLproject").unlink()
    source = read(project)
    assert source.dirty
    assert source.patch == hashlib.sha256(make_patch(project)).hexdigest()
    clone = restored(project, tmp_path / "clone")
    assert tree(clone) == tree(project)
    assert not (clone / "MLproject").exists()
    assert read(clone) == replace(source, branch=None, remote=str(project))
    assert make_patch(clone) == make_patch(project)


def _kinds(root: Path) -> None:
    (root / "taxi" / "trips.py").rename(root / "taxi" / "rides.py")
    (root / "run.sh").chmod(0o644)
    (root / "taxi" / "zones.bin").chmod(0o755)
    (root / "latest").unlink()
    (root / "latest").symlink_to("./taxi/rides.py")
    (root / "MLproject").unlink()
    (root / "MLproject").symlink_to(".gitignore")
    (root / "folder-link").symlink_to("taxi/")


def _swap_file_and_folder(root: Path) -> None:
    shutil.rmtree(root / "taxi")
    (root / "taxi").write_bytes(b"now a file\n")
    (root / "MLproject").unlink()
    write(root, {"MLproject/deep/er": b"now a folder\n"})


def _odd_bytes(root: Path) -> None:
    odd = {"empty": b"", "no-newline": b"a", "crlf": b"a\r\nb\r\n", "latin1.txt": b"caf\xe9\n", "nul": b"a\0b\n"}
    write(root, odd | {"blanks": b"a  \n\t \n\n\n", "conflict": b"<<<<<<< a\n=======\n>>>>>>> b\n", "cr": b"a\rb"})


def _odd_names(root: Path) -> None:
    names = [
        "two words",
        "é",
        '"quoted"',
        "'",
        "-rf",
        "--help",
        "$(touch x)",
        ";",
        "*",
        ":(top)x",
        "a=>b",
        "%s",
        "~",
        " lead",
    ]
    write(root, {f"d/{name}": b"1\n" for name in names} | {name: b"2\n" for name in names})
    (root / b"bytes-\xff".decode("utf-8", "surrogateescape")).write_bytes(b"3\n")


def _staged(root: Path) -> None:
    write(root, {"staged": b"1\n", "forced.parquet": b"2\n", "half": b"1\n", "intended": b"1\n"})
    run(root, "add", "staged", "half")
    run(root, "add", "-f", "forced.parquet")
    run(root, "add", "-N", "intended")
    (root / "half").write_bytes(b"2\n")
    run(root, "rm", "-q", "--cached", "run.sh")
    run(root, "mv", "MLproject", "MLproject2")


def _hidden(root: Path) -> None:
    run(root, "update-index", "--assume-unchanged", "MLproject")
    run(root, "update-index", "--skip-worktree", "taxi/trips.py")
    write(root, {"MLproject": b"name: other\n", "taxi/trips.py": b"x = 3\n"})


def _attributes(root: Path) -> None:
    write(
        root,
        {".gitattributes": b"*.txt text eol=crlf\n*.csv -diff\n*.py ident\n", "a.txt": b"a\nb\r\n", "a.csv": b"1\n"},
    )
    write(root, {"id.py": b"# $Id$ \n"})


def _everything_gone(root: Path) -> None:
    for name in ("taxi", "MLproject", "run.sh", "latest", ".gitignore"):
        shutil.rmtree(root / name) if name == "taxi" else (root / name).unlink()


CHANGES = [_kinds, _swap_file_and_folder, _odd_bytes, _odd_names, _staged, _hidden, _attributes, _everything_gone]


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_is_restored(project, tmp_path, change):
    """Renames, modes, links, odd bytes and names, staged and hidden changes: the clone is the same tree."""
    change(project)
    assert tree(restored(project, tmp_path / "clone")) == tree(project)


NAMES = st.sampled_from(["a", "b", "taxi/trips.py", "taxi/zones.bin", "MLproject", "d/a", "d/e/b", "run.sh"])
CONTENTS = st.none() | st.binary(max_size=40) | st.text("ab\r\n\t ", max_size=40).map(str.encode)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.dictionaries(NAMES, CONTENTS), after=st.dictionaries(NAMES, CONTENTS))
def test_any_tree_survives_the_round_trip(tmp_path_factory, before, after):
    """From whatever commit to whatever tree: the same files, and the patch of the result is the same bytes."""
    home = tmp_path_factory.mktemp("trip")
    root = home / "project"
    commit(root, {"kept": b"1\n"} | {name: content for name, content in before.items() if content is not None})
    for name, content in after.items():
        if content is None:
            (root / name).unlink(missing_ok=True)
        else:
            write(root, {name: content})
    clone = restored(root, home / "clone")
    assert tree(clone) == tree(root)
    assert make_patch(clone) == make_patch(root)


def test_ignored_files_and_repositories_inside_are_no_part_of_a_tree(project):
    """Data named in .gitignore, caches and a clone somebody keeps in the folder stay out."""
    write(project, {"a.parquet": b"1", "taxi/__pycache__/x.pyc": b"1"})
    commit(project / "other", {"secret": b"1"})
    assert not read(project).dirty


def test_reading_changes_nothing_of_the_users(project):
    """No byte of .git, no object and no time of the index changes (git renews the times of objects it meets)."""

    def everything():
        files = [path for path in (project / ".git").rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), "objects" in path.parts or path.stat().st_mtime_ns) for path in files}

    _staged(project)
    before = everything()
    read(project)
    assert everything() == before


def test_the_users_settings_change_no_byte_of_a_patch(project, tmp_path, monkeypatch):
    """Prefixes, context, colours, external diffs, attributes and staging give the same patch, whatever they are."""
    (project / "taxi" / "trips.py").write_bytes(b"x = 2\n")
    patch = make_patch(project)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[diff]\n noprefix = true\n mnemonicPrefix = true\n context = 9\n external = false\n relative = true\n"
        "[color]\n ui = always\n diff = always\n[core]\n abbrev = 4\n quotePath = false\n"
        f' attributesFile = {tmp_path}/attributes\n[diff "py"]\n textconv = false\n command = false\n'
    )
    (tmp_path / "attributes").write_text("*.py diff=py binary\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    run(project, "add", "-A")
    assert make_patch(project) == patch


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"]
)
def test_variables_that_lead_elsewhere_are_not_followed(project, tmp_path, monkeypatch, name):
    """A run started from a git hook has GIT_DIR of that repository set; the project's own is read."""
    expected = read(project)
    commit(tmp_path / "other", {"a": b"1"})
    monkeypatch.setenv(name, str(tmp_path / "other" / ".git"))
    assert read(project) == expected


def test_a_subfolder_of_a_repository_has_only_its_own_changes(project, tmp_path):
    """In a repository of many projects a neighbour's change makes no tree dirty and enters no patch."""
    commit(project, {"apps/taxi/MLproject": b"name: x\n", "apps/bus/MLproject": b"name: y\n"})
    write(project, {"apps/bus/MLproject": b"name: z\n", "note": b"private\n"})
    source = read(project / "apps" / "taxi")
    assert (source.folder, source.dirty) == ("apps/taxi", False)
    write(project, {"apps/taxi/new": b"1\n"})
    assert [row[0] for row in patch_summary(make_patch(project / "apps" / "taxi"))] == ["apps/taxi/new"]
    fetch(str(project), source.commit, tmp_path / "clone")
    apply_patch(tmp_path / "clone", make_patch(project / "apps" / "taxi"))
    assert (tmp_path / "clone" / "apps" / "taxi" / "new").read_bytes() == b"1\n"
    assert read(tmp_path / "clone" / "apps" / "taxi").patch == read(project / "apps" / "taxi").patch


def test_a_detached_head_has_no_branch(project):
    """As MLflow leaves the clones it makes."""
    run(project, "checkout", "-q", "--detach")
    assert read(project) == replace(read(project), branch=None, commit=run(project, "rev-parse", "HEAD"))


def test_a_shallow_clone_and_a_second_work_tree_read_like_the_first(project, tmp_path):
    """What git keeps elsewhere is found: a clone of depth 1, and `git worktree add`; also when they are dirty."""
    commit(project, {"more": b"1\n"})
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    run(project, "worktree", "add", "-q", "--detach", str(tmp_path / "second"))
    for root in (project, tmp_path / "shallow", tmp_path / "second"):
        write(root, {"more": b"2\n", "new": b"3\n"})
    patches = {make_patch(root) for root in (project, tmp_path / "shallow", tmp_path / "second")}
    assert len(patches) == 1
    assert read(tmp_path / "shallow").commit == read(tmp_path / "second").commit == read(project).commit


def test_a_repository_of_sha256_ids_is_read_and_restored(tmp_path):
    """Git's newer ids are 64 digits long."""
    root = tmp_path / "project"
    root.mkdir()
    run(root, "init", "-q", "--object-format=sha256")
    commit(root, {"a": b"1\n"})
    write(root, {"a": b"2\n", "b": b"3\n"})
    assert len(read(root).commit) == 64
    assert tree(restored(root, tmp_path / "clone")) == tree(root)


def test_a_plain_folder_has_no_commit(tmp_path):
    """A project from a zip is read without complaint."""
    write(tmp_path, {"MLproject": b""})
    assert read(tmp_path) == Source()
    assert make_patch(tmp_path) == b""


def test_a_repository_without_commits_counts_as_a_plain_folder(tmp_path):
    """There is nothing that could be fetched."""
    run(tmp_path, "init", "-q")
    write(tmp_path, {"MLproject": b""})
    assert read(tmp_path) == Source()


@pytest.mark.parametrize("ignored", [b"", b"unzipped/\n"])
def test_a_folder_inside_somebody_elses_repository_has_no_commit(tmp_path, ignored):
    """A zip unpacked in a home folder that is under git is not of that repository."""
    commit(tmp_path, {".gitignore": ignored})
    write(tmp_path, {"unzipped/MLproject": b""})
    assert read(tmp_path / "unzipped") == Source()


@pytest.mark.parametrize("part", ["config", "HEAD"])
def test_a_damaged_repository_is_an_error(project, part):
    """It is not taken for a plain folder, whose runs nobody can reproduce; the error says how to make it one."""
    (project / ".git" / part).write_text("[damage")
    with pytest.raises(CodeSourceError, match=r"\.git cannot be read as a repository\. Mend it, or run from a copy"):
        read(project)


def test_a_repository_of_another_user_is_an_error_with_gits_own_remedy(project, tmp_path, monkeypatch):
    """git calls it dubious ownership; before, the run was recorded as one of a plain folder."""
    owned_by_another(monkeypatch, tmp_path / "bin")
    with pytest.raises(CodeSourceError) as error:
        read(project)
    assert str(error.value) == (
        f"git does not read {project}: another user owns it, and its settings could run programs\n"
        f" If you trust who owns it: git config --global --add safe.directory {project}"
    )
    (tmp_path / "gitconfig").write_text(f"[safe]\n directory = {project}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert read(project).commit == run(project, "rev-parse", "HEAD")


def test_a_machine_without_git_is_noted(project, monkeypatch):
    """Without git on PATH a checkout is read as a plain folder, with a note."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert read(project).note.startswith("git cannot be started")


def test_too_much_for_a_patch_is_an_error(project, monkeypatch):
    """A large file that is neither committed nor ignored is named, with the ways out; so is a large removal."""
    monkeypatch.setattr("provenance.git.checkout.SIZE", 1000)
    (project / "taxi" / "trips.py").write_bytes(b"1" * 5000)
    with pytest.raises(
        CodeSourceError, match=r"^taxi/trips\.py: changed files of 5\.0 kB, of which at most 1\.0 kB are kept"
    ):
        read(project)
    commit(project, {"large": random.Random(1).randbytes(5000)})
    (project / "large").unlink()
    with pytest.raises(CodeSourceError, match=r"make a patch of .* Commit them\.$"):
        read(project)


def test_a_large_file_that_git_does_not_know_is_an_error(project, monkeypatch):
    """Sooner than a changed one: what the code reads beside it is meant to be small."""
    monkeypatch.setattr("provenance.git.checkout.UNTRACKED_SIZE", 1000)
    write(project, {"taxi/zones.csv": b"1" * 5000})
    with pytest.raises(
        CodeSourceError, match=r"^taxi/zones\.csv: files that git does not know of 5\.0 kB, .*\.gitignore\.$"
    ):
        read(project)


def test_a_name_no_patch_may_have_is_an_error(project):
    """Said when the run is recorded, not when somebody restores it."""
    write(project, {"a\nb": b""})
    with pytest.raises(CodeSourceError, match=r"^The path a\\nb has a backslash or control characters"):
        read(project)


def test_the_record_survives_json(project):
    """What is recorded is read back; a field of another type is refused."""
    record = json.loads(json.dumps(read(project).to_dict()))
    assert Source.from_dict(record) == read(project)
    for bad in ({}, [], record | {"commit": 1}, record | {"dirty": "no"}, record | {"remote": ["x"]}):
        with pytest.raises(CodeSourceError, match="Not a source record"):
            Source.from_dict(bad)


REMOTES = {
    # pragma: allowlist nextline secret
    "https://ada:secret@example.org/taxi.git?token=secret#secret": "https://example.org/taxi.git",
    "https://secret@example.org:8443/taxi": "https://example.org:8443/taxi",
    "https://ada:se@cret@example.org/taxi": "https://example.org/taxi",  # pragma: allowlist secret
    "ssh://git:secret@example.org/taxi.git": "ssh://git@example.org/taxi.git",  # pragma: allowlist secret
    "ssh://ada@example.org/taxi.git": "ssh://example.org/taxi.git",
    "git@example.org:ada/taxi.git": "git@example.org:ada/taxi.git",
    "ada@example.org:taxi.git": "example.org:taxi.git",
    "/srv/taxi.git": "/srv/taxi.git",
    "file:///srv/my%20taxi.git": "/srv/my taxi.git",
    "ext::sh -c secret": None,
    "ada:secret@example.org:taxi": None,
    "https:ada:secret@example.org/taxi": None,
    "codecommit::eu-west-1://secret@taxi": None,
}


@pytest.mark.parametrize(("url", "recorded"), REMOTES.items())
def test_a_remote_is_recorded_without_credentials(project, url, recorded):
    """User, password, token and query are left out; what is no plain remote is not recorded at all."""
    run(project, "remote", "add", "origin", "--", url)
    assert read(project).remote == recorded
    assert "secret" not in str(read(project))


def test_the_remote_a_branch_follows_comes_first(project, tmp_path):
    """Then origin, then any; a relative path is made absolute."""
    run(project, "remote", "add", "zebra", "../zebra.git")
    assert read(project).remote == str(tmp_path / "zebra.git")
    run(project, "remote", "add", "origin", "https://example.org/origin.git")
    assert read(project).remote == "https://example.org/origin.git"
    run(project, "config", "branch.main.remote", "zebra")
    assert read(project).remote == str(tmp_path / "zebra.git")
    run(project, "config", "branch.main.remote", ".")
    assert read(project).remote == "https://example.org/origin.git"


def test_hooks_and_monitors_of_a_repository_are_not_run(project, tmp_path):
    """Reading a checkout starts none of the programs its configuration names."""
    mark = tmp_path / "ran"
    for name in ("post-index-change", "post-checkout", "fsmonitor"):
        hook = project / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
    run(project, "config", "core.fsmonitor", str(project / ".git" / "hooks" / "fsmonitor"))
    write(project, {"MLproject": b"name: other\n"})
    read(project)
    assert not mark.exists()


def test_the_example_repositories_are_the_same_everywhere(tmp_path):
    """The tests' own commits do not depend on the machine's author, date or configuration."""
    assert commit(tmp_path, {"a": b"1\n"}) == commit(tmp_path / "b" / "c", {"a": b"1\n"})
    assert repository.ENVIRONMENT["GIT_AUTHOR_NAME"] == "Ada"
