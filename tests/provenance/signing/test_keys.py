"""The user's private key, and the public keys that a checkout trusts: what is read, and what is said of the rest."""

import os
import shutil
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from provenance.git.secret_scan import scan_patch, secret_name
from provenance.signing import signing_key, trusted_keys
from provenance.signing.signing_key import VARIABLE, SigningKeyError
from provenance.signing.trusted_keys import FOLDER, TrustedKeyError
from tests.support.signing_keys import private_key, public_pem, ssh_key, trust

needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="left out: a key of ssh-keygen, which is missing")


def test_without_the_variable_nothing_signs(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert signing_key.load() is None


def test_a_relative_path_starts_where_the_user_is(tmp_path, monkeypatch):
    """Steps that are started later work in another folder: they get the whole path."""
    path = private_key(tmp_path, "ada")
    monkeypatch.setattr("provenance.pipeline.invocation.launcher_folder", lambda: tmp_path)
    monkeypatch.setenv(VARIABLE, "ada.pem")
    key = signing_key.load()
    assert os.environ[VARIABLE] == str(path)
    trust(tmp_path, path, "ada")
    assert list(trusted_keys.read(tmp_path)) == [key.public_key.keyid]


@needs_ssh
def test_a_key_of_ssh_keygen_signs_and_is_trusted(tmp_path, monkeypatch):
    path = ssh_key(tmp_path, "id")
    (tmp_path / FOLDER).mkdir()
    shutil.copy(path.with_name("id.pub"), tmp_path / FOLDER / "ada.pub")
    monkeypatch.setenv(VARIABLE, str(path))
    [trusted] = trusted_keys.read(tmp_path).values()
    assert (trusted.name, trusted.public.keyid) == ("ada", signing_key.load().public_key.keyid)


def pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


UNUSABLE = {
    "garbage": (b"hello", "holds no private key that can be read"),
    "empty": (b"", "holds no private key that can be read"),
    "cut": (pem(Ed25519PrivateKey.generate())[:60], "holds no private key that can be read"),
    "encrypted": (pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")), "has a passphrase"),
    "other kind": (pem(generate_private_key(SECP256R1())), "holds a key of another kind than Ed25519"),
    "huge": (b"x" * 100_000, "holds no private key that can be read"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_key_that_cannot_sign_is_one_clear_error(kind, tmp_path, monkeypatch):
    """What and what next; nothing of the file's content."""
    content, said = UNUSABLE[kind]
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(SigningKeyError) as caught:
        signing_key.load()
    what, remedy = str(caught.value).splitlines()
    assert what.startswith(f"{VARIABLE}={path} {said}") and remedy.startswith(" ")
    assert not any(line and line in what + remedy for line in content.decode().splitlines())


@needs_ssh
def test_an_ssh_key_with_a_passphrase_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(ssh_key(tmp_path, "id", "secret")))
    with pytest.raises(SigningKeyError, match="has a passphrase"):
        signing_key.load()


@pytest.mark.parametrize("given", ["missing.pem", "."])
def test_no_file_is_one_clear_error(given, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / given))
    with pytest.raises(SigningKeyError, match="there is no such file\n Make a key: openssl genpkey"):
        signing_key.load()


def test_a_public_key_does_not_sign(tmp_path, monkeypatch):
    path = trust(tmp_path, private_key(tmp_path, "ada"), "ada")
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(SigningKeyError, match="holds no private key"):
        signing_key.load()


def test_the_key_itself_in_the_variable_is_not_repeated(tmp_path, monkeypatch):
    """Errors end up in logs."""
    content = private_key(tmp_path, "ada").read_text()
    for given in (content, content.splitlines()[1]):
        monkeypatch.setenv(VARIABLE, given)
        with pytest.raises(SigningKeyError) as caught:
            signing_key.load()
        assert content.splitlines()[1][:20] not in str(caught.value)


def test_the_code_of_others_does_not_learn_where_the_key_is(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/home/ada/key.pem")
    with signing_key.withheld():
        assert VARIABLE not in os.environ
    assert os.environ[VARIABLE] == "/home/ada/key.pem"


def test_a_key_is_no_part_of_a_patch(tmp_path):
    """Neither by its name nor, renamed, by its content."""
    path = private_key(tmp_path, "ada")
    assert secret_name(path.name)
    lines = path.read_text().splitlines()
    patch = f"diff --git a/x.txt b/x.txt\n--- /dev/null\n+++ b/x.txt\n@@ -0,0 +1,{len(lines)} @@\n"
    assert scan_patch((patch + "".join(f"+{line}\n" for line in lines)).encode(), ["x.txt"])


def test_no_folder_trusts_nobody(tmp_path):
    assert trusted_keys.read(tmp_path) == {}


def test_a_key_says_until_when_it_counts_and_whether_it_still_does(tmp_path):
    trust(tmp_path, private_key(tmp_path, "old"), "old", "Ada, her first laptop", "until: 2027-06-30")
    trust(tmp_path, private_key(tmp_path, "lost"), "lost", "Revoked: 2026-10-01")
    found = {key.name: key for key in trusted_keys.read(tmp_path).values()}
    assert (found["old"].until, found["old"].revoked) == (date(2027, 6, 30), None)
    assert found["old"].refused(date(2027, 6, 30)) is None
    assert found["old"].refused(date(2027, 7, 1)) == (
        "signed with the key old on 2027-07-01, after its last day (2027-06-30)"
    )
    assert found["lost"].refused(date(2020, 1, 1)) == "signed with the key lost, which is revoked (2026-10-01)"


WRONG = {
    "a limit with a typing error": ("# revokd: 2026-10-01\n{pem}", "says 'revokd: '2026-10-01''"),
    "a limit without a day": ("# revoked:\n{pem}", "says 'revoked: '''"),
    "a day that is none": ("# until: tomorrow\n{pem}", "says 'until: 'tomorrow''"),
    "no key": ("# until: 2027-01-01\n", "holds no public key that can be read"),
    "two keys": ("ssh-ed25519 AAAA x\nssh-ed25519 AAAA y\n", "holds no public key that can be read"),
    "a private key": ("-----BEGIN PRIVATE KEY-----\n", "holds a private key"),
    "a huge file": ("#" * 20_000, "is no public key"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_trusted_key_that_cannot_be_used_is_one_clear_error(kind, tmp_path):
    """Passed over, it could be a revocation that nobody obeys."""
    text, said = WRONG[kind]
    path = trust(tmp_path, private_key(tmp_path, "ada"), "ada")
    path.write_text(text.format(pem=path.read_text()))
    with pytest.raises(TrustedKeyError) as caught:
        trusted_keys.read(tmp_path)
    what, remedy = str(caught.value).splitlines()
    assert said in what and "ada.pub" in what and remedy.startswith(" ")


def test_a_key_of_another_kind_is_not_trusted(tmp_path):
    path = trust(tmp_path, private_key(tmp_path, "ada"), "ada")
    other = tmp_path / "other.pem"
    other.write_bytes(pem(generate_private_key(SECP256R1())))
    path.write_text(public_pem(other))
    with pytest.raises(TrustedKeyError, match="another kind than Ed25519"):
        trusted_keys.read(tmp_path)


def test_one_key_under_two_names_is_refused(tmp_path):
    """One of them may be revoked."""
    key = private_key(tmp_path, "ada")
    trust(tmp_path, key, "ada")
    trust(tmp_path, key, "eve", "revoked: 2026-10-01")
    with pytest.raises(TrustedKeyError, match=r"ada.pub and eve.pub hold one key"):
        trusted_keys.read(tmp_path)
