"""What the machine or a server did is known however it is wrapped; what anybody else did is left alone."""

import errno
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from runtime.machine_errors import machine_error
from runtime.server_errors import answer_cut_off, server_error, server_unavailable
from tests.support.processes import free_port


def wrapped(error):
    """As a library does that forgets to say `from`."""
    try:
        try:
            raise error
        except Exception:
            raise RuntimeError("it appears that your path cannot be copied")  # noqa: B904
    except RuntimeError as outer:
        return outer


def full(path):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


NO_SPACE = [
    full("/data/x"),
    wrapped(full("/data/x")),
    OSError("4096 requested and 1000 written"),  # numpy
    shutil.Error([("a", "/data/x", "[Errno 28] No space left on device: 'a' -> '/data/x'")]),
    RuntimeError("[00:42:53] local_filesys.cc:37: Check failed: ...: FileStream.Write incomplete"),  # XGBoost
    RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: UPDATE runs SET ...]"),
]


@pytest.mark.parametrize("error", NO_SPACE)
def test_a_full_disk_is_known_by_any_librarys_words(error):
    """Said with what helps."""
    said = machine_error(error)
    assert said.startswith("no space left") and "run again" in said.splitlines()[1]


def test_the_path_is_told_when_the_error_tells_it():
    """Of a copy the one that was written, not the one that was read."""
    assert machine_error(full("/data/x")).startswith("no space left: /data/x\n")
    copying = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/a", None, "/data/b")
    assert machine_error(copying).startswith("no space left: /data/b\n")


NO_MEMORY = [
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    ImportError("lib.so: failed to map segment from shared object"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_memory_that_ran_out_is_known(error):
    """Whether Python, a library or the loader noticed."""
    assert machine_error(error).startswith("out of memory\n")


OTHERS = [ValueError("max_depth=99"), FileNotFoundError(errno.ENOENT, "No such file", "/x"), wrapped(KeyError("a"))]


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_are_nobodys_fault(error):
    """A bug keeps its traceback."""
    assert machine_error(error) is None and server_error(error) is None and not server_unavailable(error)


@pytest.fixture
def refusing():
    """A function: the URL of a server that answers everything with this status."""
    servers = []

    def serve(status):
        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self):
                self.send_response(status)
                if status == 200:  # and then half of what it promised
                    self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{" if status == 200 else b"")

            def log_message(self, *words):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://ada:secret@127.0.0.1:{servers[-1].server_port}"  # pragma: allowlist secret

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def raised(url):
    try:
        requests.put(f"{url}/artifacts/a?token=secret", data=b"x", timeout=5).raise_for_status()
    except requests.RequestException as error:
        return wrapped(error)


@pytest.mark.parametrize(("status", "says", "helps", "away"), [
    (403, "403 Forbidden", "right to write", False),
    (500, "500 Internal Server Error", "Its log says why", True),
    (507, "507 Insufficient Storage", "room", True),
])  # fmt: skip
def test_a_server_that_refuses_is_named_with_its_answer(refusing, status, says, helps, away):
    """Which request, which answer, what next; no password, no token."""
    error = raised(refusing(status))
    said = server_error(error)
    assert f"refused PUT /artifacts/a: {says}\n" in said and helps in said.splitlines()[1]
    assert "secret" not in said
    assert server_unavailable(error) == away


def test_a_server_that_is_not_there_is_named():
    """Nobody listens on that port."""
    error = raised(f"http://127.0.0.1:{free_port()}")
    assert "does not answer\n Run again when it does" in server_error(error) and server_unavailable(error)


def test_a_server_that_goes_away_in_the_middle_of_an_answer_is_said(refusing):
    """MLflow does not ask again then, so the step ends."""
    error = raised(refusing(200))
    assert server_error(error).startswith("the server went away in the middle of an answer\n Run again when it answers")
    assert server_unavailable(error) and answer_cut_off(error)
