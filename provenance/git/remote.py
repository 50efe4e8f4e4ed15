"""Remotes: what one may be called, and which spellings name the same repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from provenance.git.command import PROTOCOLS, CodeSourceError, without_credentials

PORTS = {"git": "9418", "http": "80", "https": "443", "ssh": "22"}  # what a URL without a port means
LENGTH = 2000  # characters; longer is no URL
_NAME = re.compile(r"(?![-.])[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_SCP = re.compile(r"(?:(?P<user>[^/@:]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@]+):(?P<path>.*)")


def check_commit(text: str) -> str:
    """`text`, when it is a whole commit id: 40 or 64 hex digits. Raises CodeSourceError."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise CodeSourceError(f"{_cut(text)} is no whole commit id. Give all 40 (or 64) hex digits, in lower case.")
    return text


def check_remote(text: str, allowed: Iterable[str | None] | None) -> str:
    """The remote to fetch from, when `text` is plain and names the same repository as one of `allowed`.

    Given back is the allowed spelling: a recorded http:// in place of your ssh is compared, never used.
    allowed=None checks the form alone, for what the user typed, and gives `text`. Raises CodeSourceError.
    """
    recorded = identity(text)
    if allowed is None:
        return text
    ours = [own for own in allowed if own and clean_remote(own)]
    for own in ours:
        if identity(own) == recorded:
            return own
    names = ", ".join(str(clean_remote(own)) for own in ours) or "which has no remote"
    raise CodeSourceError(
        f"The run's code is at {clean_remote(text)}, which is not this project's repository ({names}). "
        "If you trust its author, pass -P repo= with that remote."
    )


def same_repository(a: str, b: str) -> bool:
    """Whether two remotes name one repository, however they are spelled. Raises CodeSourceError for a bad spelling."""
    return identity(a) == identity(b)


def clean_remote(remote: str | None, base: Path | None = None) -> str | None:
    """As `without_login`, but None for what is of no known kind."""
    try:
        return without_login(remote or "", base)
    except CodeSourceError:
        return None


def without_login(remote: str, base: Path | None = None) -> str:
    """`remote` without user, password and query ("git@" stays: ssh needs it). Raises CodeSourceError for no remote.

    A relative path is made absolute from `base`.
    """
    scheme, user, host, path = split_remote(remote)
    if scheme == "file":
        return str((base / path).resolve()) if base else path
    user = "git@" if scheme == "ssh" and user.partition(":")[0] == "git" else ""
    return f"{scheme}://{user}{host}{path}" if "://" in remote else f"{user}{host}:{path}"


def split_remote(remote: str | None) -> tuple[str, str, str, str]:
    """(scheme, user, host[:port], path); a path alone is of scheme "file".

    Raises CodeSourceError for what is no remote.
    """
    if not isinstance(remote, str) or not remote or len(remote) > LENGTH or not remote.isprintable():
        raise CodeSourceError(f"The remote {_cut(remote)} is empty, too long or unprintable. Give a plain URL or path.")
    if remote.startswith("-") or re.match(r"[^/\[]*::", remote):
        raise CodeSourceError(f"The remote {_cut(remote)} is an option or a command. Give a plain URL or path.")
    if "://" in remote:
        scheme, host, path = remote.partition("://")[0].lower(), *_location(remote)
        if scheme not in PROTOCOLS:
            raise CodeSourceError(
                f"The remote {_cut(remote)} is of no known kind ({', '.join(PROTOCOLS)}). Give one, or a path."
            )
        if scheme == "file":
            return "file", "", "", unquote(path)
        user, _, host = host.rpartition("@")
    else:
        match = _SCP.fullmatch(remote)
        if not match or remote.startswith(("/", ".", "~")):
            return "file", "", "", remote
        scheme, user, host, path = "ssh", match["user"] or "", match["host"], match["path"]
    name, _, port = _host(host)
    plain = (
        _NAME.fullmatch(name) and re.fullmatch(r"\d{0,5}", port) and path.strip("/") and "@" not in path.split("/")[0]
    )
    if not plain or path.lstrip("/").startswith("-") or user.startswith("-"):
        raise CodeSourceError(f"The remote {_cut(remote)} has no plain host and path. Give a plain URL or path.")
    return scheme, user, host, path


def _location(remote: str) -> tuple[str, str]:
    try:
        parts = urlsplit(remote)
    except ValueError:  # a host such as "[::"
        raise CodeSourceError(f"The remote {_cut(remote)} is no URL. Give a plain URL or path.") from None
    return parts.netloc, parts.path


def _host(host: str) -> tuple[str, str, str]:
    name, bracket, rest = host.partition("]")
    return (name + bracket, "", rest.removeprefix(":")) if bracket else host.partition(":")


def identity(remote: str | None) -> tuple[str, str]:
    """(host, path), the same for every spelling of one repository; host is "" for a folder of this machine."""
    scheme, _, host, path = split_remote(remote)
    if scheme == "file":
        real = os.path.realpath(os.path.expanduser(path))
        return "", real.removesuffix("/.git").removesuffix(".git") or "/"
    name, _, port = _host(host.lower())
    port = "" if port == PORTS[scheme] else port
    return f"{name}:{port}" if port else name, path.strip("/").removesuffix(".git").rstrip("/")


def _cut(text: str | None) -> str:
    shown = ascii(without_credentials(text) if isinstance(text, str) else text)
    return shown if len(shown) <= 120 else shown[:117] + "..."
