"""Our modules on a cluster's workers: the same there as here, whatever lay there before."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from distributed import Worker, WorkerPlugin

# (pickled function, its arguments) -> what it gives, on a worker: of any type, as the function has it.
Call: TypeAlias = Callable[..., Any]

PLUGIN = "nyc-taxi-duration"  # one name for all: shipping again replaces what was shipped before
ROOT = Path(__file__).parents[2]
OWN = ("search", "runtime")  # shipped beside the packages that are asked for


def archive(packages: Sequence[str] = ()) -> tuple[str, bytes]:
    """(file name, bytes) of a zip of `packages` that Python can import from; the name says the digest of the code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for package in (*packages, *OWN) for path in (ROOT / package).rglob("*.py")):
            file.writestr(zipfile.ZipInfo(path.relative_to(ROOT).as_posix()), path.read_bytes())
    content = buffer.getvalue()
    return f"code-{hashlib.sha256(content).hexdigest()[:16]}.zip", content


def plugin(name: str, content: bytes, packages: Sequence[str] = ()) -> "WorkerPlugin":
    """A worker plugin that puts the archive first on the path of every worker, present and future.

    Its class is made in here so that it travels by value: a class of a module would need that module on the worker.
    """
    from distributed import WorkerPlugin

    ours = (*packages, *OWN)

    class Code(WorkerPlugin):
        def setup(self, worker: "Worker") -> None:
            import importlib
            import os
            import sys

            path = os.path.join(worker.local_directory, name)
            if path in sys.path:
                return
            with open(path, "wb") as file:
                file.write(content)
            sys.path[:] = [path, *(p for p in sys.path if os.path.dirname(p) != worker.local_directory)]
            for module in [module for module in sys.modules if module.partition(".")[0] in ours]:
                del sys.modules[module]  # another version of ours, of an earlier search or of the worker's folder
            importlib.invalidate_caches()

    return Code()


def caller(name: str) -> Call:
    """A function for workers that calls `blob`, a pickled function, on what follows; by value, as above.

    The scheduler unpickles every task it is given, and has no module of ours: it sees bytes.
    """

    def call(blob: bytes, *arguments: Any) -> Any:
        import sys

        import cloudpickle

        if not any(path.endswith(name) for path in sys.path):
            raise RuntimeError(f"this worker has no {name}: another search has put its own code on the cluster")
        return cloudpickle.loads(blob)(*arguments)

    return call
