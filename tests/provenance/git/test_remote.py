"""Remotes and commits from a server: hostile until checked."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.git.command import CodeSourceError, without_credentials
from provenance.git.remote import check_commit, check_remote, clean_remote, same_repository
from tests.support.repository import commit, run

OURS = "git@example.org:ada/taxi.git"


@pytest.mark.parametrize("text", ["0123456789abcdef" * 2 + "01234567", "a" * 64])
def test_a_whole_commit_id_is_taken(text):
    """40 digits, or 64 of git's newer ids."""
    assert check_commit(text) == text


BAD_COMMITS = [
    "", "main", "HEAD", "abc123", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "a" * 40 + "\n", " " + "a" * 40,
    "--upload-pack=touch x", "refs/heads/main", "a" * 40 + "^{tree}", "a" * 40 + ":x", None, 7, "a" * 10_000,
    "é" * 40, "٣" * 40,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_COMMITS)
def test_anything_but_a_whole_commit_id_is_refused(text):
    """No name that could move, no option, no second line; the answer is one short line."""
    with pytest.raises(CodeSourceError, match="is no whole commit id") as error:
        check_commit(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


HOSTILE = [
    "", "--upload-pack=touch x", "-oProxyCommand=touch x", "ext::sh -c touch% x", "fd::17", "EXT::sh",
    "foo::https://example.org/x", "::x", "ext::https://example.org/ada/taxi", "ssh://-oProxyCommand=touch/x",
    "ssh://git@-oProxyCommand=touch/x", "git@-oProxyCommand=touch:x", "-git@example.org:x",
    "ssh://-x@example.org/y", "example.org:-x", "example.org:/-x", "https://example.org/-x",
    "https://example.org\n/x", "git@example.org:ada/taxi.git\n--upload-pack=x", "a\0b", "a\x1b[2J", "a\tb",
    "https://", "https:///x", "https://example.org", "https://example.org/", "example.org:",
    "https://exam ple.org/x", "https://example.org:port/x", "https://$(touch x)/y", "https://[::1/x",
    "gopher://example.org/x", "ftp://example.org/x", "javascript://x/y", "git+ssh://example.org/x",
    "ada:secret@example.org:taxi", "https:ada:secret@example.org/taxi", "é://x/y", "https://éxample.org/x",
    "x" * 10_000, None, 7,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("allowed", [None, [OURS]])
def test_a_hostile_remote_is_refused(text, allowed):
    """Options, commands, unknown transports, control characters and odd hosts: one short line, no secret in it."""
    with pytest.raises(CodeSourceError, match=r"^The remote ") as error:
        check_remote(text, allowed)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


SPELLINGS = [
    "git@example.org:ada/taxi.git", "git@example.org:ada/taxi", "example.org:ada/taxi.git/",
    "git@EXAMPLE.org:/ada/taxi.git", "ssh://git@example.org/ada/taxi.git", "ssh://example.org:22/ada/taxi",
    "https://example.org/ada/taxi.git", "https://token@Example.Org/ada/taxi", "https://example.org:443/ada/taxi/",
    "HTTPS://example.org/ada/taxi.git/", "http://example.org/ada/taxi.git", "git://example.org/ada/taxi.git",
    "https://example.org/ada/taxi.git?x=1",
]  # fmt: skip


@pytest.mark.parametrize("text", SPELLINGS)
def test_every_spelling_of_our_repository_is_taken_but_ours_is_used(text):
    """A recorded http:// or git:// spelling, which anyone on the way could answer, is compared, never fetched from."""
    assert check_remote(text, ["https://elsewhere.org/x", OURS]) == OURS


FOREIGN = [
    "https://example.org/eve/taxi.git", "https://example.org.evil.org/ada/taxi.git",
    "https://evil.org/example.org/ada/taxi", "https://example.org@evil.org/ada/taxi.git",
    "https://example.org:8443/ada/taxi.git", "ssh://example.org:2222/ada/taxi.git",
    "https://example.org/ada/taxi.git/../../eve/taxi.git", "https://example.org/ada/Taxi",
    "https://example.org/ada/taxi.git.git", "https://evil.org#@example.org/ada/taxi", "/srv/taxi",
    "file:///ada/taxi.git", "ada/taxi.git", "example.orgs:ada/taxi",
]  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN)
def test_another_repository_is_refused(text):
    """What only resembles ours, or hides another host behind it, is foreign."""
    with pytest.raises(CodeSourceError):
        check_remote(text, [OURS])


def test_the_refusal_says_what_to_do_and_no_secret():
    """Where the run's code is, which is ours, and how to trust its author."""
    with pytest.raises(CodeSourceError) as error:
        # pragma: allowlist nextline secret
        check_remote("https://eve:secret@evil.org/taxi?token=secret", [OURS, "https://ada:secret@example.org/x", None])
    assert str(error.value) == (
        "The run's code is at https://evil.org/taxi, which is not this project's repository "
        "(git@example.org:ada/taxi.git, https://example.org/x). "
        "If you trust its author, pass -P repo= with that remote."
    )


def test_without_a_remote_of_our_own_none_is_ours():
    """A checkout that was never pushed trusts nobody; an odd remote of ours is passed over."""
    with pytest.raises(CodeSourceError, match="which has no remote"):
        check_remote("https://example.org/x", [None, "ext::sh"])


def test_folders_are_one_repository_however_they_are_named(tmp_path, monkeypatch):
    """Relative, by a link, with .git, as a file:// URL; another folder is another repository."""
    commit(tmp_path / "my project", {"a": b""})
    run(tmp_path, "clone", "-q", "--bare", "my project", "bare.git")
    (tmp_path / "link").symlink_to("my project")
    monkeypatch.chdir(tmp_path)
    own = str(tmp_path / "my project")
    for spelling in (
        "my project",
        "./my project/",
        "link",
        "my project/.git",
        f"file://{tmp_path}/my%20project",
        f"{own}/../link",
    ):
        assert check_remote(spelling, [own]) == own
    assert same_repository("bare", "bare.git/")
    assert not same_repository("bare", own)


def test_messages_carry_no_credentials():
    """User, password and query of any URL in a text are left out."""
    text = "fatal: unable to access 'https://ada:se/cr@et@example.org/x?token=secret': ssh://secret@b.org/y and http://c.org/z"
    assert (
        without_credentials(text) == "fatal: unable to access 'https://example.org/x': ssh://b.org/y and http://c.org/z"
    )


WORDS = ["https", "ssh", "ext", "file", "git", "example.org", "ada", "22", "--upload-pack=x", "://", "::", "..", "é"]
PIECES = st.lists(st.sampled_from([*WORDS, *":@/-[]?#%~. \n"]), max_size=9).map("".join)


@settings(deadline=None)
@given(st.one_of(PIECES, st.text(max_size=30)))
def test_any_text_is_either_plain_or_refused(text):
    """Never another error; what is taken is printable, no option, no command, and cleaning it twice changes nothing."""
    try:
        taken = check_remote(text, None)
    except CodeSourceError:
        assert clean_remote(text) is None
        return
    assert (
        taken == text
        and text.isprintable()
        and not text.startswith("-")
        and "::" not in text.split("/")[0].split("[")[0]
    )
    clean = clean_remote(text)
    assert clean_remote(clean) in (clean, None)
    same_repository(text, text)


@pytest.mark.parametrize("text", ["://", "://a", "@", "://@", "x://a?", "?"])
def test_messages_are_cleaned_in_time_that_grows_with_their_length(text):
    """200 kB from a server take a fraction of a second; with their square they took minutes."""
    before = time.process_time()
    without_credentials(text * (200_000 // len(text)))
    without_credentials(f"{text} " * (200_000 // len(text)))
    assert time.process_time() - before < 3
