"""What a trial costs between hosts: bytes and round trips, on a Dask cluster of network namespaces with TLS.

    python benchmarks/hosts.py [--trials 10] [--delays 0 20] [--model-bytes 0 1000000]

Needs root, `ip` and /dev/net/tun. A scheduler, two workers and the client have an address each; packets take so many
milliseconds from one to another. Trials do nothing and bring a model of so many bytes, one at a time: what the
quickest takes more for a longer delay, divided by the round trip, is how many round trips follow each other. With 16
at a time it is seen how many trials one client feeds.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, machine, worker_code

sys.path.insert(0, str(ROOT))
AT_ONCE = 16


@dataclass(frozen=True)
class Bringing:
    """A trial that does nothing and has a model of `size` bytes, which no compression makes smaller."""

    size: int

    def __call__(self, data, number, params):
        import random

        from search.trial import TrialResult

        return TrialResult(number, params, "ok", 1.0, {"val_rmse": 1.0}, files={"model": random.randbytes(self.size)})


def nothing() -> None:
    """The data of trials that do nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, help="alone, one after the other")
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 20], help="milliseconds there, and as many back")
    parser.add_argument("--model-bytes", type=int, nargs="+", default=[0, 1_000_000])
    given = parser.parse_args()
    from tests.support.hosts import why_no_hosts

    print(machine("dask", "distributed"))
    if reason := why_no_hosts():
        print(f"left out: {reason}")
        return
    alone: dict[int, dict[float, float]] = {size: {} for size in given.model_bytes}
    for delay in given.delays:
        for size, (seconds, fed, sent, came) in measured(delay, given).items():
            alone[size][delay] = seconds
            print(
                f"  {delay:4.0f} ms there, as many back; a model of {size:9,} bytes: {seconds * 1000:6.1f} ms a trial "
                f"alone, {fed * 1000:6.1f} ms with {AT_ONCE} at once; {sent:8,.0f} bytes sent, {came:10,.0f} received"
            )
    shortest, longest = min(given.delays), max(given.delays)
    for size, seconds in alone.items():
        if longest > shortest:
            trips = (seconds[longest] - seconds[shortest]) / (2 * (longest - shortest) / 1000)
            print(f"  a model of {size:9,} bytes: {trips:4.1f} round trips, one after the other, a trial")


def measured(delay: float, given) -> dict[int, tuple[float, float, float, float]]:
    """Size of the model -> seconds a trial alone and among 16, bytes that left the client and that reached it."""
    from search.engines.dask import DaskEngine
    from tests.support.hosts_cluster import hosts_cluster, settings_in_force

    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        hosts_cluster(Path(folder), workers=2, delay=delay / 1000) as cluster,
        settings_in_force(cluster.variables),
        cluster.network.hosts["client"].inside(),
    ):
        for size in given.model_bytes:
            with DaskEngine(cluster.engine, Bringing(size), nothing, worker_code(), workers=AT_ONCE) as engine:
                for number in range(4):
                    engine.submit(number, {}).result()  # warm
                before = cluster.network.bytes.copy()
                seconds = []
                for number in range(given.trials):
                    began = time.perf_counter()
                    engine.submit(number, {}).result()
                    seconds.append(time.perf_counter() - began)
                crossed = cluster.network.bytes - before
                began = time.perf_counter()
                for future in [engine.submit(number, {}) for number in range(AT_ONCE * given.trials)]:
                    future.result()
                fed = (time.perf_counter() - began) / (AT_ONCE * given.trials)
            sent = sum(n for (sender, _), n in crossed.items() if sender == "client") / given.trials
            came = sum(n for (_, receiver), n in crossed.items() if receiver == "client") / given.trials
            found[size] = (min(seconds), fed, sent, came)  # the quickest: others waited for the processor
    return found


if __name__ == "__main__":
    main()
