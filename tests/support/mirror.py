"""Months of a few trips, and a mirror of TLC's site that has them: a web server on loopback for a folder."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from taxi.months.month import file_name


def publish(folder: Path, month: str, rows: int = 600, slower: float = 1.0) -> Path:
    """A month of the embedded city in `folder`, whose trips take `slower` times as long."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from taxi.city.sample import write_month

    path = folder / file_name("green", month)
    write_month(path, "green", month, rows)
    if slower != 1.0:
        trips = pq.read_table(path)
        pickup, dropoff = trips["lpep_pickup_datetime"], trips["lpep_dropoff_datetime"]
        taken = pc.multiply(pc.subtract(dropoff, pickup).cast("int64"), slower).cast("int64", safe=False)
        later = pc.add(pickup, taken.cast(pa.duration("us")))
        place = trips.schema.get_field_index("lpep_dropoff_datetime")
        pq.write_table(trips.set_column(place, "lpep_dropoff_datetime", later), path)
    return path


def cut_off(path: Path) -> None:
    """The first half of a file, as while it is being copied."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@contextlib.contextmanager
def mirror(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The URL of the server. `asked` gets "METHOD name" of each request."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            if asked is not None:
                asked.append(f"{self.command} {self.path.rpartition('/')[2]}")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
