"""A web server of somebody else's on loopback, which notes what it is sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ForeignServer:
    """`asked`: (path, Authorization header or None) of each request that reached it."""

    uri: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextlib.contextmanager
def foreign_server() -> Iterator[ForeignServer]:
    """Answers everything with an empty listing of artifacts."""
    noted = ForeignServer("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            noted.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"files": []}')

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    noted.uri = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield noted
    finally:
        server.shutdown()
        server.server_close()
