"""Run git as a plain subprocess that asks nothing, runs no hook and is not led elsewhere by the caller's variables."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROTOCOLS = ("file", "git", "http", "https", "ssh")
# Variables that say how to reach or identify a server; all other GIT_* (GIT_DIR, GIT_INDEX_FILE, ...) are dropped.
KEPT = ("GIT_ASKPASS", "GIT_CONFIG", "GIT_EXEC_PATH", "GIT_HTTP_", "GIT_PROXY", "GIT_SSH", "GIT_SSL_")
SAFETY = {
    "core.fsmonitor": "false",  # may name a program
    "core.hooksPath": os.devnull,
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
}
SECONDS = 120  # for anything that stays on this machine; fetching gives its own


class SourceError(ValueError):
    """Code that cannot be read, recorded, fetched or restored, or that asks for what is not allowed."""


def git(*arguments: str, cwd: str | Path, variables: Mapping[str, str] | None = None, own_config: bool = True,
        stdin: bytes = b"", seconds: float = SECONDS) -> bytes:  # fmt: skip
    """Standard output of one git command.

    own_config=False leaves out the user's and the system's configuration and attributes, for output that is the
    same everywhere. Raises SourceError with git's own last lines.
    """
    settings = SAFETY if own_config else SAFETY | {"core.attributesFile": os.devnull, "core.excludesFile": os.devnull}
    command = ["git", *(text for pair in settings.items() for text in ("-c", "=".join(pair))), *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, env=_environment(own_config) | (variables or {}), input=stdin,
                              capture_output=True, timeout=seconds)  # fmt: skip
    except FileNotFoundError:
        raise SourceError("git is not on PATH. Install git, or put it on PATH.") from None
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"git {arguments[0]} took longer than {seconds:.0f} s. Try again when the server answers."
        ) from None
    if done.returncode:
        raise SourceError(f"git {arguments[0]} failed: {last_lines(done.stderr)}")
    return done.stdout


def last_lines(stderr: bytes, count: int = 3) -> str:
    """What git said last, as one line without credentials."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return without_credentials("; ".join(lines[-count:]) or "it gave no reason")


def without_credentials(text: str) -> str:
    """`text` with the user and password of every URL, and every query, left out."""
    text = re.sub(r"://[^/\s@'\"]*@", "://", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)


def _environment(own_config: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    if own_config:
        kept |= {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    else:
        kept |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
    return kept | {
        "GIT_ALLOW_PROTOCOL": ":".join(PROTOCOLS),
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
