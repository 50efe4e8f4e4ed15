"""Digests of files, folders and values."""

import hashlib
import json
import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.record.digest import DigestError, Listing, digest_json, list_tree, sha256_file, verify
from provenance.record.problem import Problem, ProblemKind

# sha256sum's own output for the texts "abc" and "".
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path):
    """Two files, one in a subfolder: train/a.bin ("abc") and manifest.json ("")."""
    home = tmp_path / "dataset"
    (home / "train").mkdir(parents=True)
    (home / "train" / "a.bin").write_bytes(b"abc")
    (home / "manifest.json").write_bytes(b"")
    return home


def test_a_file_has_the_digest_sha256sum_gives(tmp_path):
    """The digest can be checked by anyone's tools."""
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == ABC


def test_a_missing_file_is_told(tmp_path):
    """No traceback for a file that is not there."""
    with pytest.raises(DigestError, match=r"a cannot be read \(No such file or directory\)"):
        sha256_file(tmp_path / "a")


def test_a_folder_has_the_digest_of_its_sorted_lines(folder):
    """The same as `sha256sum` over `sha256sum`'s sorted lines."""
    lines = f"{EMPTY}  manifest.json\n{ABC}  train/a.bin\n"
    assert list_tree(folder) == Listing(
        hashlib.sha256(lines.encode()).hexdigest(),
        {"manifest.json": (0, EMPTY), "train/a.bin": (3, ABC)},
    )


def test_neither_place_nor_time_nor_empty_folders_count(folder, tmp_path):
    """A copy elsewhere, made in another order, has the same digest."""
    copy = tmp_path / "elsewhere"
    (copy / "empty").mkdir(parents=True)
    (copy / "manifest.json").write_bytes(b"")
    (copy / "train").mkdir()
    (copy / "train" / "a.bin").write_bytes(b"abc")
    os.utime(copy / "train" / "a.bin", (0, 0))
    assert list_tree(copy) == list_tree(folder)


def test_moving_content_between_files_changes_the_digest(tmp_path):
    """Names are part of the digest, not contents alone."""
    for name, texts in {"one": ("x", "y"), "two": ("y", "x")}.items():
        (tmp_path / name).mkdir()
        for file, text in zip("ab", texts, strict=True):
            (tmp_path / name / file).write_text(text)
    assert list_tree(tmp_path / "one").digest != list_tree(tmp_path / "two").digest


def test_volatile_files_are_listed_but_do_not_count(folder):
    """What differs from run to run does not change the digest, by name or by pattern, and is still verified."""
    before = list_tree(folder)
    (folder / "times.json").write_text("1")
    (folder / "logs").mkdir()
    (folder / "logs" / "a.txt").write_text("1")
    listing = list_tree(folder, volatile=("times.json", "logs/*"))
    assert listing.digest == before.digest
    assert listing.volatile == ("logs/a.txt", "times.json")
    assert listing.size == 5
    (folder / "times.json").write_text("2")
    assert [(found.kind, found.path) for found in verify(folder, listing)] == [(ProblemKind.ALTERED, "times.json")]


def test_a_whole_folder_has_no_problems(folder):
    """Verifying what was just listed finds nothing, deep or not."""
    assert verify(folder, list_tree(folder)) == verify(folder, list_tree(folder), deep=False) == []


def test_every_kind_of_damage_is_named(folder):
    """Missing, truncated, grown, altered and extra files, each with what was recorded and what is there."""
    for name in ("gone", "short", "long", "other"):
        (folder / name).write_bytes(b"12345")
    listing = list_tree(folder)
    (folder / "gone").unlink()
    (folder / "short").write_bytes(b"1234")
    (folder / "long").write_bytes(b"123456")
    (folder / "other").write_bytes(b"12344")
    (folder / "extra").write_bytes(b"")
    before, after = (hashlib.sha256(content).hexdigest() for content in (b"12345", b"12344"))
    altered = Problem(ProblemKind.ALTERED, "other", before, after)
    problems = [
        Problem(ProblemKind.MISSING, "gone"),
        Problem(ProblemKind.EXTRA, "extra"),
        Problem(ProblemKind.GROWN, "long", 5, 6),
        altered,
        Problem(ProblemKind.TRUNCATED, "short", 5, 4),
    ]
    assert verify(folder, listing) == problems
    assert verify(folder, listing, deep=False) == [problem for problem in problems if problem is not altered]


def test_a_folder_that_is_gone_is_a_problem(tmp_path):
    """A deleted output never verifies."""
    words = f"{tmp_path / 'gone'} is no folder (or is missing), so it has no files to list."
    assert verify(tmp_path / "gone", Listing("", {})) == [Problem(ProblemKind.UNREADABLE, detail=words)]


def test_a_listing_never_leads_out_of_the_folder(folder, tmp_path):
    """A path like ../secret in a listing is missing, not opened."""
    (tmp_path / "secret").write_bytes(b"abc")
    listing = Listing("", {"../secret": (3, ABC), str(tmp_path / "secret"): (3, ABC)})
    assert [found for found in verify(folder, listing) if found.kind is not ProblemKind.EXTRA] == [
        Problem(ProblemKind.MISSING, "../secret"),
        Problem(ProblemKind.MISSING, str(tmp_path / "secret")),
    ]


def test_a_link_inside_the_folder_counts_as_its_file(folder):
    """A link to a file of the same folder is that file's bytes."""
    (folder / "link").symlink_to("train/a.bin")
    assert list_tree(folder).files["link"] == (3, ABC)


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "nowhere", "link", "train", ".", "fifo", "socket"])
def test_links_out_loops_and_devices_are_refused(folder, target, monkeypatch):
    """Nothing outside the folder is read, nothing is waited for, and verifying says so too."""
    monkeypatch.chdir(folder)
    (folder.parent / "outside").write_text("secret")
    listing = list_tree(folder)
    if target == "fifo":
        os.mkfifo("link")
    elif target == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("link")
    else:
        os.symlink(target, "link")
    with pytest.raises(DigestError, match=r"link is (no regular file|a link).* Put the file"):
        list_tree(folder)
    (problem,) = verify(folder, listing)
    assert problem.kind is ProblemKind.UNREADABLE
    assert "link is" in problem.detail


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\\b", b"\xff".decode("utf-8", "surrogateescape")])
def test_names_that_could_fake_a_line_are_refused(folder, name):
    """A name with a line break could make two folders look alike."""
    (folder / name).write_text("")
    with pytest.raises(DigestError, match="no plain relative path"):
        list_tree(folder)


def test_a_listing_survives_json(folder):
    """What is recorded with a run is read back as it was."""
    listing = list_tree(folder, volatile=("manifest.json",))
    assert Listing.from_dict(json.loads(json.dumps(listing.to_dict()))) == listing


def _with(**changes):
    return lambda record: record | changes


HOSTILE = {
    "no mapping": lambda record: [],
    "no files": lambda record: {"digest": record["digest"]},
    "files no mapping": _with(files=[]),
    "another digest": _with(digest="0" * 64),
    "a file left out": lambda record: record | {"files": dict(list(record["files"].items())[1:])},
    "a changed sum": lambda record: record | {"files": record["files"] | {"manifest.json": [0, ABC]}},
    "a path out": lambda record: record | {"files": record["files"] | {"../x": [0, EMPTY]}},
    "an absolute path": lambda record: record | {"files": record["files"] | {"/etc/x": [0, EMPTY]}},
    "a size below 0": lambda record: record | {"files": record["files"] | {"manifest.json": [-1, EMPTY]}},
    "a size that is text": lambda record: record | {"files": record["files"] | {"manifest.json": ["0", EMPTY]}},
    "volatile unknown": _with(volatile=["nothing"]),
    "all volatile": _with(volatile=["manifest.json", "train/a.bin"]),
    "volatile nested": _with(volatile=[["manifest.json"]]),
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE)
def test_an_altered_listing_is_refused(folder, damage):
    """A record on a server is checked against itself before anything is compared with it."""
    with pytest.raises(DigestError):
        Listing.from_dict(damage(list_tree(folder).to_dict()))


def test_a_value_has_one_digest_however_it_is_ordered():
    """Key order and tuples against lists do not count; type and value do."""
    assert digest_json({"b": (1, 2), "a": "é"}) == digest_json({"a": "é", "b": [1, 2]})
    assert digest_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert len({digest_json(value) for value in (1, 1.0, "1", True, [1], None)}) == 6


def test_a_number_that_equals_nothing_has_no_digest():
    """NaN would be written as no JSON, and two of them would agree."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json({"a": float("nan")})


@settings(deadline=None)
@given(st.dictionaries(st.text("abc/", min_size=1), st.binary(max_size=4), max_size=4))
def test_the_digest_is_of_all_files_and_nothing_else(tmp_path_factory, files):
    """Any change of any name or content gives another digest; the same files give the same."""
    names = [name for name in files if name == os.path.normpath(name) and not name.startswith("/")]
    names = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    home = tmp_path_factory.mktemp("tree")
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(files[name])
    listing = list_tree(home)
    assert {path: size for path, (size, _) in listing.files.items()} == {name: len(files[name]) for name in names}
    (home / "d").write_bytes(b"")
    assert list_tree(home).digest != listing.digest
