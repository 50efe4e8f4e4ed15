"""Run git as a subprocess that asks no questions, runs no hooks and ignores the caller's GIT_* variables."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROTOCOLS = ("file", "git", "http", "https", "ssh")
# Variables that say how to reach or identify a server; all other GIT_* (GIT_DIR, GIT_INDEX_FILE, ...) are dropped.
KEPT = ("GIT_ASKPASS", "GIT_CONFIG", "GIT_EXEC_PATH", "GIT_HTTP_", "GIT_PROXY", "GIT_SSH", "GIT_SSL_")
SAFETY = {
    "core.fsmonitor": "false",  # may name a program
    "core.hooksPath": os.devnull,
    "core.protectHFS": "true",  # what macOS and Windows take for .git is refused here too
    "core.protectNTFS": "true",
    "http.lowSpeedLimit": "1",  # bytes/s, for http.lowSpeedTime seconds: a server that hangs is given up
    "http.lowSpeedTime": "60",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
}
_FOREIGN = re.compile(r"detected dubious ownership in repository at '([^'\n]+)'")  # git's words, in the C locale
SECONDS = 120  # for anything that stays on this machine; fetching gives its own


class CodeSourceError(ValueError):
    """Code cannot be read, recorded, fetched or restored, or would do something that is not allowed."""


class GitMissing(CodeSourceError):
    """There is no git on PATH, or no such folder to start it in."""


class GitError(CodeSourceError):
    """git ran and failed. `stderr` is what it said, as it said it; `foreign`: the repository is another user's."""

    def __init__(self, command: str, stderr: bytes):
        self.stderr = stderr.decode("utf-8", "replace")
        owned = _FOREIGN.search(self.stderr)
        self.foreign = owned is not None
        super().__init__(_foreign(owned[1]) if owned else f"git {command} failed: {_last_lines(self.stderr)}")


def git(*arguments: str, cwd: str | Path, variables: Mapping[str, str] | None = None, own_config: bool = True,
        stdin: bytes = b"", seconds: float = SECONDS) -> bytes:  # fmt: skip
    """Standard output of one git command.

    own_config=False leaves out the user's and the system's configuration and attributes, for output that is the
    same everywhere. Raises GitError when git fails, GitMissing when there is none, or CodeSourceError when it takes
    too long.
    """
    settings = SAFETY if own_config else SAFETY | {"core.attributesFile": os.devnull, "core.excludesFile": os.devnull}
    command = ["git", *(text for pair in settings.items() for text in ("-c", "=".join(pair))), *arguments]
    environment = _environment(own_config) | dict(variables or {})
    what = next(text for text in arguments if not text.startswith("-") and "=" not in text)
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, input=stdin, capture_output=True, timeout=seconds)
    except (FileNotFoundError, NotADirectoryError):
        raise GitMissing(
            f"git cannot be started in {cwd}. Install git, put it on PATH, or give a folder that is there."
        ) from None
    except subprocess.TimeoutExpired:
        raise CodeSourceError(
            f"git {what} took over {seconds:.0f} s. Try again when the disk or server answers."
        ) from None
    if done.returncode:
        raise GitError(what, done.stderr)
    return done.stdout


def without_credentials(text: str) -> str:
    """`text` without what stands between :// and the last @ of each URL, and without queries."""
    return re.sub(r"[^\s'\"]+", lambda word: _plain(word[0]), text)  # word by word, so that the time is linear


def _plain(word: str) -> str:
    before, mark, rest = word.partition("://")
    if not mark:
        return word
    return before + mark + rest[rest.rfind("@") + 1 :].partition("?")[0]


def _foreign(folder: str) -> str:
    return (
        f"git does not read {folder}: another user owns it, and its settings could run programs\n"
        f" If you trust who owns it: git config --global --add safe.directory {shlex.quote(folder)}"
    )


def _last_lines(stderr: str, count: int = 3) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return without_credentials("; ".join(lines[-count:]) or "it gave no reason")


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
