"""A Dask cluster at hand: reached, with workers that would compute the same bits, and with our code on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.engines.error import EngineError
from search.engines.shipping import PLUGIN, Call, archive, caller, plugin
from search.engines.versions import PACKAGES, reader, version_differences

if TYPE_CHECKING:
    from distributed import Client

DASK = "dask://"
CONNECT_SECONDS = 10  # a scheduler that is there answers in milliseconds


def scheduler(engine: str) -> str:
    """``host:port`` of ``dask://host:port``. Raises EngineError for any other engine."""
    if not engine.startswith(DASK):
        raise EngineError(f"no engine {engine!r}\nGive local, or dask://host:port of a Dask scheduler.")
    return engine.removeprefix(DASK)


def connected(address: str, packages: Sequence[str] = ()) -> "tuple[Client, Call]":
    """(client of the scheduler at `address`, function for `client.submit` that calls a pickled function there).

    Raises EngineError for a cluster that is not there, has no workers, or has other versions than we have.
    """
    client = _client(address)
    try:
        if not client.nthreads():
            raise EngineError(
                f"the Dask cluster at {address} has no workers\n"
                f"Start some: dask worker tcp://{address} --nworkers 2 --nthreads 1"
            )
        _compare_versions(client)
        return client, _ship(client, packages)
    except BaseException:
        client.close()
        raise


def _compare_versions(client: "Client") -> None:
    read = reader()
    different = version_differences(read(PACKAGES), client.run(read, PACKAGES))
    if different:
        raise EngineError(
            f"{len(different)} Dask workers would not give the same results: {'; '.join(different[:3])}\n"
            "Start them in the environment of this project's lock (docs/scale.md)."
        )


def _ship(client: "Client", packages: Sequence[str]) -> Call:
    name, content = archive(packages)
    client.register_plugin(plugin(name, content, packages), name=PLUGIN)
    return caller(name)


def _client(address: str) -> "Client":
    from distributed import Client

    try:
        return Client(f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False, name="nyc-taxi-duration")
    except OSError as error:
        raise EngineError(
            f"no Dask scheduler answers at {address}: {error}\n"
            "Start one: dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard"
        ) from None
