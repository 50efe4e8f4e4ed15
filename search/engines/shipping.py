"""This project's modules on a cluster's workers: the same there as here, whatever lay there before."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from search.engines.versions import reader

if TYPE_CHECKING:
    from distributed import Worker, WorkerPlugin

# (pickled function, its arguments) -> what it gives, on a worker: of any type, as the function has it.
Call: TypeAlias = Callable[..., Any]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Code:
    """What workers are given of this project.

    name: whose code it is; what was shipped under this name before is replaced.
    files: paths below `ROOT`, what the tasks import and no more.
    """

    name: str
    files: tuple[str, ...]

    def archive(self) -> bytes:
        """A zip of the files, the same bytes whenever they are the same."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(self.files):
                file.writestr(zipfile.ZipInfo(path), (ROOT / path).read_bytes())
        return buffer.getvalue()


NO_CODE = Code("", ())  # for processes of this machine, which have it


def shipment(code: Code, versions: Mapping[str, str | None]) -> "tuple[WorkerPlugin, Call]":
    """(a worker plugin that lays `code` on every worker, present and future; a function for `client.submit`).

    The function calls a pickled function on what follows, on workers whose packages have the `versions` named;
    elsewhere it raises ImportError. Both are made in here so that they travel by value: a class of a module would
    need that module on the worker, and the scheduler, which unpickles every task it is given, has none of ours.
    """
    from distributed import WorkerPlugin

    content, name = code.archive(), code.name
    digest = hashlib.sha256(content).hexdigest()[:16]
    ours = {path.partition("/")[0] for path in code.files}
    read = reader()

    class Shipped(WorkerPlugin):
        def setup(self, worker: "Worker") -> None:
            import importlib
            import io
            import os
            import sys
            import zipfile

            self.digest, self.versions = digest, read(tuple(versions))
            path = os.path.join(worker.local_directory, f"code-{digest}")
            if path in sys.path:
                return
            zipfile.ZipFile(io.BytesIO(content)).extractall(path)
            sys.path[:] = [path, *(p for p in sys.path if os.path.dirname(p) != worker.local_directory)]
            for module in [module for module in sys.modules if module.partition(".")[0] in ours]:
                del sys.modules[module]  # another version of ours, of an earlier search or of the worker's folder
            importlib.invalidate_caches()

    def call(blob: bytes, *arguments: Any) -> Any:
        import cloudpickle
        from distributed import get_worker

        worker = get_worker()
        shipped = worker.plugins.get(name)
        if getattr(shipped, "digest", None) != digest:
            raise ImportError("another run has put its own code on the Dask workers\n Run again when it has ended.")
        found = getattr(shipped, "versions", {})
        other = [f"{package} {found[package] or 'missing'} (here {here})"
                 for package, here in versions.items() if found[package] != here]  # fmt: skip
        if other:
            raise ImportError(
                f"{worker.address}, a Dask worker that has come since, has {', '.join(other)}: another environment "
                "may give other results\n Stop it, or start it in the environment of this project's lock. Run again."
            )
        return cloudpickle.loads(blob)(*arguments)

    return Shipped(), call
