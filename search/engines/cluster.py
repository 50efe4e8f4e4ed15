"""A Dask cluster at hand: reached, with workers that would compute the same bits, and with our code on them."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cloudpickle

from search.engines.error import EngineError
from search.engines.shipping import Code, shipment
from search.engines.versions import PACKAGES, reader, version_differences

if TYPE_CHECKING:
    from distributed import Client, Future

PLAIN, TLS = "dask://", "dask:tls://"
ENGINES = "Give local, or dask://host:port of a Dask scheduler, dask:tls://host:port of one that speaks TLS."
CONNECT_SECONDS = 30  # a scheduler that is there answers in milliseconds, on a busy machine in seconds
_TLS_SETTINGS = "Dask's settings distributed.comm.tls name ca-file, client.cert and client.key: docs/scale.md."


def scheduler(engine: str) -> str:
    """Dask's own address of the scheduler: ``tcp://host:port`` of ``dask://host:port``, or with ``tls``.

    Raises EngineError for any other engine.
    """
    for prefix, scheme in ((PLAIN, "tcp://"), (TLS, "tls://")):
        if engine.startswith(prefix):
            return scheme + engine.removeprefix(prefix)
    raise EngineError(f"no engine {engine!r}\n{ENGINES}")


class Cluster:
    """The workers of the scheduler that `engine` names: ``dask://host:port`` or ``dask:tls://host:port``.

    Raises EngineError for a cluster that is not there, has no workers, or has other versions than we have; and
    whenever it goes away.
    """

    def __init__(self, engine: str, code: Code) -> None:
        self.address = address = scheduler(engine)
        self.client = _client(address)
        try:
            with self.errors():
                if not self.workers():
                    raise EngineError(
                        f"the Dask cluster at {address} has no workers\n"
                        f"Start some: dask worker {address} --nworkers 2 --nthreads 1"
                    )
                versions = self._versions()
                plugin, self._call = shipment(code, versions)
                self.client.register_plugin(plugin, name=code.name)
        except BaseException:
            self.close()
            raise

    def workers(self) -> list[str]:
        """Addresses of the workers that are connected."""
        with self.errors():
            return sorted(self.client.nthreads())

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> "Future[Any]":
        """`function(*arguments)` on a worker; `options` are those of Dask's `Client.submit`."""
        with self.errors():
            return self.client.submit(self._call, cloudpickle.dumps(function), *arguments, **options)

    def result(self, future: "Future[Any]") -> Any:
        """What the task of `future` returned, waited for, or raised. Raises KilledWorker."""
        with self.errors(of_tasks=True):
            return future.result()

    @contextmanager
    def errors(self, of_tasks: bool = False) -> Iterator[None]:
        """What becomes of the cluster in the block, as an EngineError; `of_tasks`: an OSError is a task's own."""
        from distributed.client import ClosedClientError
        from distributed.comm.core import CommClosedError

        if self.client.status != "running":  # Dask would keep what it is given for half a minute, and then drop it
            raise self._lost()
        try:
            yield
        except ImportError as error:  # of a worker that has no code, or must not use it; see `shipment`
            raise EngineError(str(error)) from None
        except CancelledError:  # for any of Dask's reasons: nobody asks for the result of a task that we cancelled
            raise self._forgotten() if self.client.status == "running" else self._lost() from None
        except (CommClosedError, ClosedClientError):
            raise self._lost() from None
        except OSError:  # TimeoutError, too
            if of_tasks:
                raise
            raise self._lost() from None

    def close(self) -> None:
        """Of a client that still waits for a scheduler which is gone, Dask would log that, with a traceback."""
        log = logging.getLogger("distributed.client")
        log.disabled = self.client.status == "connecting"
        try:
            self.client.close()
        finally:
            log.disabled = False

    def _lost(self) -> EngineError:
        return EngineError(
            f"the Dask scheduler at {self.address} is gone\n"
            "Start one, or mend the network to it, and run again: what is finished is reused."
        )

    def _forgotten(self) -> EngineError:
        return EngineError(
            f"the Dask scheduler at {self.address} does not know the tasks of this run any more: it was restarted, "
            "or the network to it broke off\nRun again: what is finished is reused."
        )

    def _versions(self) -> dict[str, str | None]:
        read = reader()
        here = read(PACKAGES)
        different = version_differences(here, self.client.run(read, PACKAGES, on_error="ignore"))
        if different:
            raise EngineError(
                f"{len(different)} Dask workers would not give the same results: {'; '.join(different[:3])}\n"
                "Start them in the environment of this project's lock (docs/scale.md)."
            )
        return here


def _client(address: str) -> "Client":
    """Raises EngineError."""
    from distributed import Client

    tls = address.startswith("tls://")
    _check_tls_settings(tls, address)
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # ValueError: TLS was begun after a scheduler without TLS had spoken
        start = (
            f"Start one with certificates of the same authority. {_TLS_SETTINGS}" if tls else
            "Start one: dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard\n"
            "One that speaks TLS is given as dask:tls://host:port."
        )  # fmt: skip
        raise EngineError(f"no Dask scheduler answers at {address}: {error}\n{start}") from None


def _check_tls_settings(tls: bool, address: str) -> None:
    """Raise EngineError when Dask's settings of TLS do not go with the address."""
    import dask
    from distributed.security import Security

    if dask.config.get("distributed.client.security-loader", None):
        return  # Dask asks that
    security = Security()
    if security.require_encryption and not tls:
        raise EngineError(f"{address} is not encrypted, and Dask's settings require it\nGive dask:tls://host:port.")
    try:
        certificate = not tls or security.get_connection_args("client")["ssl_context"]
    except OSError as error:  # of ssl, too
        raise EngineError(f"Dask's certificates cannot be used: {error}\n{_TLS_SETTINGS}") from None
    if not certificate:
        raise EngineError(f"there is no certificate to show to {address}\n{_TLS_SETTINGS}")
