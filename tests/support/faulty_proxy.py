"""A way to a server on which things happen: requests refused, lost on the way there, their answers lost on the way."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


@dataclass
class Proxy:
    """Passes requests on. `fate(method, path)` decides over each: a status to answer with instead, "lost" before the
    server has it, "unanswered" after, "cut" in the middle of the answer, or None to pass it on."""

    server: str
    fate: Callable[[str, str], int | str | None] = lambda method, path: None
    seen: list[str] = field(default_factory=list)  # "METHOD path" of every request, in order
    uri: str = ""


@contextlib.contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    way = Proxy(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            way.seen.append(f"{self.command} {path}")
            fate = way.fate(self.command, path)
            if isinstance(fate, int):
                self.answer(fate, b'{"message": "not today"}', {})
            elif fate == "lost":
                self.close_connection = True
            else:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                came = requests.request(self.command, way.server + self.path, data=body, headers=headers, timeout=60)
                if fate == "unanswered":
                    self.close_connection = True
                    return
                self.answer(came.status_code, came.content, came.headers, cut=fate == "cut")

        def answer(self, status: int, content: bytes, headers, cut: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {*HOP, "content-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *words) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    way.uri = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield way
    finally:
        listening.shutdown()
        listening.server_close()


HOP = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "server", "date"}
