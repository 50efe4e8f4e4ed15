"""Other people's patches: told in full, refused when they reach out of the tree, with nothing written."""

import os

import pytest

from provenance.git import source
from provenance.git.checkout import check_path
from provenance.git.command import CodeSourceError
from provenance.git.patch import apply_patch, patch_summary
from tests.support.repository import commit, run, tree, write


def make_patch(root) -> bytes:
    """As of code that reads every file there."""
    return source.make_patch(root, tree(root))


BLOB = "78981922613b2afb6025042ff6bd878ac1994e85"  # git's id of "a\n"


@pytest.fixture
def clone(tmp_path):
    """A clean checkout of one commit: a.txt ("a"), a program, and a folder with a file."""
    root = tmp_path / "outer" / "clone"
    write(root, {"a.txt": b"a\n", "run.sh": b"#!/bin/sh\n", "d/e.txt": b"e\n"})
    (root / "run.sh").chmod(0o755)
    commit(root)
    return root


def new_file(path: str, content: str = "a", mode: str = "100644") -> bytes:
    """A patch, as git writes it, that adds one file of one line."""
    end = "" if mode != "120000" else "\n\\ No newline at end of file"
    return (
        f"diff --git {_quoted('a/' + path)} {_quoted('b/' + path)}\nnew file mode {mode}\nindex 0000000..7898192\n"
        f"--- /dev/null\n+++ {_quoted('b/' + path)}\n@@ -0,0 +1 @@\n+{content}{end}\n"
    ).encode()


def _quoted(path: str) -> str:
    escapes = {"\n": "\\n", '"': '\\"', "\\": "\\\\", "\t": "\\t", "\x1b": "\\033"}
    return '"' + "".join(escapes.get(letter, letter) for letter in path) + '"'


PATHS = [
    "../evil",
    "d/../../evil",
    "d/../evil",
    "/tmp/evil-of-a-patch",
    "./evil",
    "d//evil",
    ".git/hooks/post-checkout",
    ".git/config",
    ".GIT/config",
    ".Git/config",
    "d/.git/config",
    "d/.git",
    "git~1/config",
    "GIT~1/config",
    ".git./config",
    ".git /config",
    ".git::$INDEX_ALLOCATION/config",
    ".git\u200c/config",
    ".g\u200dit/config",
    "..\\evil",
    ".git\\config",
    "a\nb",
    "a\tb",
    "a\x1b[2Jb",
    "... /evil",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", ["100644", "120000"])
def test_a_path_out_of_the_tree_or_into_git_is_refused(clone, tmp_path, path, mode):
    """As a file or a link, in any spelling that some file system takes for it: refused, and nothing is written."""
    before, git_before = tree(tmp_path), tree(clone / ".git")
    for act in (patch_summary, lambda patch: apply_patch(clone, patch)):
        with pytest.raises(CodeSourceError):
            act(new_file(path, mode=mode))
    assert tree(tmp_path) == before
    assert {name for name in tree(clone / ".git") if "objects" not in name} == {
        name for name in git_before if "objects" not in name
    }
    assert not os.path.lexists("/tmp/evil-of-a-patch")


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_checked_without_git_too(path):
    """The check here does not lean on the version of git that is installed."""
    with pytest.raises(CodeSourceError, match="It is refused: rename it"):
        check_path(path.encode())


@pytest.mark.parametrize(
    "path", ["a", ".gitignore", ".github/x", "a.git", "d/.gitkeep", "git", "é/ü", "-rf", "a:b", "..a"]
)
def test_ordinary_paths_are_taken(path):
    """What merely resembles .git or an option is a file like any other."""
    check_path(path.encode())


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../outside", "..", "d/../../outside", "../clone/a.txt", ".git/config", "d/../.git/config",
     "./../x", ".GIT/hooks", "a/../../x"],
)  # fmt: skip
def test_a_link_out_of_the_tree_is_refused(clone, target):
    """At once, before anything is written, wherever it would lead by detours."""
    before = tree(clone)
    with pytest.raises(CodeSourceError, match="refused"):
        apply_patch(clone, new_file("link", target, mode="120000"))
    assert tree(clone) == before


@pytest.mark.parametrize(
    ("path", "target"), [("l", "a.txt"), ("l", "./d"), ("l", "d/"), ("d/l", "../a.txt"), ("l", "not-there")]
)
def test_a_link_inside_the_tree_is_taken(clone, path, target):
    """Links of a project to its own files are restored."""
    apply_patch(clone, new_file(path, target, mode="120000"))
    assert os.readlink(clone / path) == target


def test_nothing_is_written_through_a_link(clone, tmp_path):
    """A link in the commit, or made by the patch, is no way out for the next file of the patch."""
    (tmp_path / "outside").mkdir()
    before = tree(tmp_path)
    with pytest.raises(CodeSourceError):
        apply_patch(clone, new_file("l", "d", mode="120000") + new_file("l/evil"))
    assert tree(tmp_path) == before
    (clone / "out").symlink_to(tmp_path / "outside")
    commit(clone)
    with pytest.raises(CodeSourceError):
        apply_patch(clone, new_file("out/evil"))
    assert not list((tmp_path / "outside").iterdir())


def test_a_folder_that_became_a_link_unseen_is_refused(clone, tmp_path):
    """An ignored link in the clone that git does not look at is found by looking at the disk."""
    (tmp_path / "outside").mkdir()
    (clone / ".git" / "info").mkdir(exist_ok=True)
    (clone / ".git" / "info" / "exclude").write_text("out\n")
    (clone / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(CodeSourceError, match="through a link"):
        apply_patch(clone, new_file("out/evil"))
    assert not list((tmp_path / "outside").iterdir())


SUBMODULE = (
    "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..7898192\n--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n"
    f"+Subproject commit {BLOB}\n"
).encode()


def test_a_submodule_is_refused(clone):
    """It would be fetched from wherever it says."""
    for act in (patch_summary, lambda patch: apply_patch(clone, patch)):
        with pytest.raises(CodeSourceError, match="sub as a submodule"):
            act(SUBMODULE)


def test_a_rename_is_refused(clone):
    """The summary of a rename does not name the file that goes; this project's patches have none."""
    with pytest.raises(CodeSourceError, match="which no patch of a run does"):
        patch_summary(b"diff --git a/a.txt b/b.txt\nsimilarity index 100%\nrename from a.txt\nrename to b.txt\n")


@pytest.mark.parametrize(
    "patch",
    [b"garbage", b"\0" * 100, b"diff --git a/a b/a\n", new_file("a.txt"), b"From: x\n\n", new_file("b")[:-8],
     b"--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-other\n+a\n"],
)  # fmt: skip
def test_a_damaged_patch_or_one_of_another_commit_changes_nothing(clone, patch):
    """One clear error, and the clone is as it was."""
    before = tree(clone)
    with pytest.raises(CodeSourceError):
        apply_patch(clone, patch)
    assert tree(clone) == before
    assert run(clone, "status", "--porcelain") == ""


def test_a_patch_that_would_fill_the_disk_is_refused(clone):
    """Sizes are declared in binary patches; they are added up before git unpacks anything."""
    patch = b"diff --git a/b b/b\nnew file mode 100644\nindex 0000000..7898192\nGIT binary patch\nliteral 99999999999\n"
    for act in (patch_summary, lambda patch: apply_patch(clone, patch)):
        with pytest.raises(CodeSourceError, match=r"holds 99,999,999,999 bytes; at most 200,000,000"):
            act(patch)


def test_a_dirty_clone_is_not_patched(clone):
    """What was there before would be lost, and the tree would not be the run's."""
    (clone / "a.txt").write_bytes(b"mine\n")
    with pytest.raises(CodeSourceError, match=r"has changes of its own\. Apply a patch to a fresh clone\.$"):
        apply_patch(clone, new_file("b"))


@pytest.mark.parametrize("folder", ["clone/d", ".", "nowhere"])
def test_only_the_top_of_a_clone_is_patched(clone, folder):
    """Paths in a patch begin at the top of the repository."""
    with pytest.raises(CodeSourceError, match="is not the top of a clone"):
        apply_patch(clone.parent / folder, new_file("b"))


def test_the_summary_names_the_file_that_is_written(clone):
    """A patch that gives a file two names is told by the one that counts."""
    patch = new_file("b").replace(b"b/b", b"b/c", 1)
    (row,) = patch_summary(patch)
    apply_patch(clone, patch)
    assert set(tree(clone)) == {"a.txt", "run.sh", "d/e.txt", row[0]}


def test_no_program_is_run_by_applying(clone, tmp_path, monkeypatch):
    """Filters and hooks that the tree asks for by attributes are not run on what a patch writes."""
    mark = tmp_path / "ran"
    (tmp_path / "gitconfig").write_text(
        f'[filter "x"]\n smudge = touch {mark}\n clean = touch {mark}\n[core]\n hooksPath = {tmp_path}\n'
    )
    for hook in ("post-index-change", "applypatch-msg", "post-checkout"):
        (tmp_path / hook).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (tmp_path / hook).chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    apply_patch(clone, new_file(".gitattributes", "* filter=x") + new_file("b"))
    assert (clone / "b").read_bytes() == b"a\n"
    assert not mark.exists()


def test_the_summary_names_every_change(clone):
    """Path, kind, lines added and removed; binary files have no lines."""
    (clone / "a.txt").write_bytes(b"b\nc\n")
    (clone / "run.sh").chmod(0o644)
    (clone / "d" / "e.txt").unlink()
    write(clone, {"new é": b"1\n2\n", "raw.bin": b"\0\1", "link": "a.txt"})
    assert patch_summary(make_patch(clone)) == [
        ("a.txt", "modified", 2, 1),
        ("d/e.txt", "deleted", 0, 1),
        ("link", "added", 1, 0),
        ("new é", "added", 2, 0),
        ("raw.bin", "added", None, None),
        ("run.sh", "mode 100755 => 100644", 0, 0),
    ]


def test_a_file_that_became_a_link_is_told_as_replaced(clone):
    """Git writes it as a removal and an addition of the same path."""
    (clone / "a.txt").unlink()
    (clone / "a.txt").symlink_to("run.sh")
    assert patch_summary(make_patch(clone)) == [("a.txt", "replaced", 1, 1)]


def test_no_patch_has_no_summary_and_changes_nothing(clone):
    """A clean run has an empty patch."""
    assert patch_summary(b"") == []
    assert apply_patch(clone, b"") == run(clone, "rev-parse", "HEAD^{tree}")


def test_files_get_the_users_rights(clone):
    """A program may be run; nothing becomes writable for others than the umask allows."""
    umask = os.umask(0o027)
    try:
        apply_patch(clone, new_file("tool", mode="100755") + new_file("plain"))
    finally:
        os.umask(umask)
    assert [oct((clone / name).stat().st_mode & 0o777) for name in ("tool", "plain")] == ["0o750", "0o640"]
