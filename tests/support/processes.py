"""Programs that run beside a test: servers, and whatever else must be gone with all its children when it is over."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_SECONDS = 600  # patience on a busy machine: a server imports MLflow, or builds an environment first


def free_port() -> int:
    """One of loopback that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextlib.contextmanager
def background(
    command: Sequence[str | Path], log: Path, variables: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen]:
    """`command` in a session of its own, which hears Ctrl-C as in a shell; killed with all its children at the end."""

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs do not

    with log.open("ab") as out:
        started = subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=dict(variables), stdout=out, stderr=out,
            start_new_session=True, preexec_fn=hear,
        )  # fmt: skip
    try:
        yield started
    finally:
        end(started)


def end(started: subprocess.Popen) -> None:
    """SIGTERM to the whole session, and kill -9 to what has not ended after twenty seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGTERM)
    try:
        started.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def wait_for_answer(url: str, log: Path, of: subprocess.Popen) -> None:
    """Wait until `url` answers with anything; fail with the end of the log when its process ends instead."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and of.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"no answer from {url}: {log.read_text()[-3000:]}")


@contextlib.contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """A `git://` URL prefix on loopback for the repositories in `folder`."""
    port = free_port()
    daemon = subprocess.Popen(["git", "daemon", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1",
                               f"--port={port}", "--reuseaddr"])  # fmt: skip
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"git://127.0.0.1:{port}"
    finally:
        daemon.terminate()
        daemon.wait()
