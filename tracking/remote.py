"""Remotes: what one may be called, which name the same repository, and fetching one exact commit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tracking.git import PROTOCOLS, SourceError, git, without_credentials

PORTS = {"git": "9418", "http": "80", "https": "443", "ssh": "22"}
SECONDS = 1800  # for one fetch; a slower server is given up
_HOST = re.compile(r"(?![-.])[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_SCP = re.compile(r"(?:([^/@:]+)@)?(\[[0-9A-Fa-f:.]+\]|[^/:@]+):(.*)")


def check_commit(text: str) -> str:
    """`text`, when it is a whole commit id: 40 or 64 hex digits. Raises SourceError."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise SourceError(f"{_cut(text)} is no whole commit id. Give all 40 (or 64) hex digits, in lower case.")
    return text


def check_remote(text: str, allowed: Iterable[str] | None) -> str:
    """The remote to fetch from, when `text` is plain and names the same repository as one of `allowed`.

    Given back is the allowed spelling, so that a recorded http:// or another user's spelling is never what is used;
    allowed=None checks the form alone and gives `text`. Raises SourceError.
    """
    found = identity(text)
    if allowed is None:
        return text
    allowed = list(allowed)
    for own in allowed:
        if identity(own) == found:
            return own
    ours = ", ".join(without_credentials(own) for own in allowed) or "none"
    raise SourceError(
        f"The run's code is recorded at {clean_remote(text)}, which is not this project's repository ({ours}). "
        "When you trust its author, pass -P repo= with that remote."
    )


def identity(remote: str) -> tuple[str, str]:
    """(host or "", path), the same for every spelling of one repository; raises SourceError for a bad spelling."""
    scheme, host, path = _parts(remote)
    if scheme == "file":
        path = os.path.realpath(os.path.expanduser(path))
        return "", path.removesuffix("/.git").removesuffix(".git") or "/"
    name, _, port = host.lower().partition(":") if not host.startswith("[") else (host.lower(), "", "")
    port = "" if port == PORTS[scheme] else port
    return f"{name}:{port}" if port else name, path.strip("/").removesuffix(".git").rstrip("/")


def clean_remote(remote: str) -> str | None:
    """`remote` without user, password and query ("git@" stays: ssh needs it); None when it is of no known kind."""
    try:
        scheme, host, path = _parts(remote)
    except SourceError:
        return None
    if scheme == "file":
        return path
    if "://" not in remote:
        return f"git@{host}:{path}" if remote.startswith("git@") else f"{host}:{path}"
    user = "git@" if scheme == "ssh" and re.match(r"ssh://git[@:]", remote, re.IGNORECASE) else ""
    return f"{scheme}://{user}{host}{path}"


def _parts(remote: str) -> tuple[str, str, str]:
    """(scheme, host[:port], path); scheme "file" with host "" for paths. Raises SourceError."""
    if not isinstance(remote, str) or not remote or not remote.isprintable() or len(remote) > 2000:
        raise SourceError(
            f"The remote {_cut(remote)} is empty, too long or has control characters. Give a plain URL or path."
        )
    if remote.startswith("-") or re.match(r"[A-Za-z0-9+.-]+::", remote):
        raise SourceError(
            f"The remote {_cut(remote)} is an option or a command, no repository. Give a plain URL or path."
        )
    if "://" in remote:
        parts = urlsplit(remote)
        scheme, path = parts.scheme.lower(), parts.path
        host = parts.netloc.rpartition("@")[2]
        if scheme not in PROTOCOLS:
            raise SourceError(
                f"The remote {_cut(remote)} is not of {', '.join(PROTOCOLS)}. Give such a URL, or a path."
            )
        if scheme == "file":
            return "file", "", path
        name, _, port = host.partition(":") if not host.startswith("[") else (host.partition("]")[0] + "]", "", "")
        if not _HOST.fullmatch(name) or not re.fullmatch(r"\d*", port) or path.strip("/").startswith("-") or not path:
            raise SourceError(f"The remote {_cut(remote)} has no plain host and path. Give a plain URL or path.")
        return scheme, host, path
    match = _SCP.fullmatch(remote)
    if not match or remote.startswith(("/", ".", "~")):
        return "file", "", remote
    if not _HOST.fullmatch(match[2]) or match[3].startswith("-") or not match[3]:
        raise SourceError(f"The remote {_cut(remote)} has no plain host and path. Give a plain URL or path.")
    return "ssh", match[2], match[3]


def fetch(remote: str, commit: str, folder: str | Path) -> Path:
    """Check out exactly `commit` of `remote` in `folder`, which is made and must be new or empty.

    Also a commit that is no branch head any more, as long as the server still gives it. Runs no hook, asks nothing,
    takes no submodule. `remote` is one you trust: see check_remote. Raises SourceError.
    """
    check_commit(commit)
    check_remote(remote, None)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SourceError(f"{folder} is not empty. Give a new folder to fetch into.")
    scheme, _, path = _parts(remote)
    where = os.path.abspath(os.path.expanduser(path)) if scheme == "file" else remote
    git("init", "-q", "--template=", f"--object-format={'sha256' if len(commit) == 64 else 'sha1'}", cwd=folder)
    reasons = []
    for options, wanted in (
        (("--depth=1",), (commit,)),
        ((), ("+refs/*:refs/fetched/*",)),  # servers that give no single commits, and bundles
        ((), ("HEAD",)),
    ):
        try:
            git("-c", "protocol.version=2", "fetch", "-q", "--no-tags", "--no-recurse-submodules", "--no-auto-gc",
                *options, "--", where, *wanted, cwd=folder, variables=_ssh(), seconds=SECONDS)  # fmt: skip
            git("cat-file", "-e", f"{commit}^{{commit}}", cwd=folder)
            break
        except SourceError as error:
            reasons.append(str(error))
    else:
        raise SourceError(
            f"Commit {commit} cannot be fetched from {clean_remote(remote)} ({reasons[0]}). "
            "Pass -P repo= with a repository that has it."
        )
    git("remote", "add", "origin", "--", clean_remote(remote) or where, cwd=folder)
    git("-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit, "--", cwd=folder)
    return folder


def _ssh() -> dict[str, str]:
    """An ssh that asks nothing, unless the user says how to run it."""
    return (
        {}
        if any(name in os.environ for name in ("GIT_SSH", "GIT_SSH_COMMAND"))
        else {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    )


def _cut(text: object) -> str:
    shown = ascii(without_credentials(text)) if isinstance(text, str) else ascii(text)
    return shown if len(shown) <= 120 else shown[:117] + "..."
