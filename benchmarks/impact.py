"""How long `impact` takes on a store of 10,000 runs, and whether its answer is the known truth.

    python benchmarks/impact.py [--chains 470] [--runs 3] [--server]

The store is written at once (tests/support/impact_store.py): chains of two experiments that share months and reuse each
other's steps, searches of 25 trials, repetitions, failed runs and the runs of strangers. Each question is a process of
its own, so the seconds include the import of MLflow. With --server it goes through `mlflow server` on the same store.
"""

import argparse
import contextlib
import json
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import PYTHON, ROOT, machine, medians, ran

sys.path.insert(0, str(ROOT))

from provenance.store.project_identity import identity
from tests.support.bulk_store import BulkStore
from tests.support.colleagues import tracking_server
from tests.support.impact_store import COMMITS, ImpactStore, Truth, month_digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=470)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--server", action="store_true")
    given = parser.parse_args()
    print(machine("mlflow"), flush=True)
    with tempfile.TemporaryDirectory(prefix="impact-") as name:
        folder = Path(name)
        with opened(folder, given.server) as (uri, store):
            truth = ImpactStore(store, trials=25).fill(given.chains)
            with contextlib.closing(sqlite3.connect(store.database)) as database:
                (count,) = database.execute("SELECT count(*) FROM runs").fetchone()
                (tags,) = database.execute("SELECT count(*) FROM tags").fetchone()
            print(f"{count:,} runs with {tags:,} tags, {'mlflow server' if given.server else 'sqlite'}", flush=True)
            asked(folder, uri, truth, given.runs)


@contextlib.contextmanager
def opened(folder: Path, server: bool) -> Iterator[tuple[str, BulkStore]]:
    """The tracking URI of an empty store, and the store to fill."""
    from mlflow import MlflowClient

    empty = folder / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()
    if not server:
        yield f"sqlite:///{empty}", BulkStore(empty, folder / "artifacts", project=identity(ROOT))
        return
    with tracking_server(folder / "server", empty) as uri:
        there = folder / "server"
        yield uri, BulkStore(there / "mlflow.db", there / "artifacts", identity(ROOT), "mlflow-artifacts:")


def asked(folder: Path, uri: str, truth: Truth, runs: int) -> None:
    """Ask each question, compare the answer with the truth, and print the median seconds."""
    champion = next(uri for uri, aliases in truth.aliases.items() if "champion" in aliases)
    month = [f"file:{month_digest('2023-01', edition)}" for edition in (1, 2)]
    questions = {
        "2023-01": month,
        champion: [champion],
        COMMITS[0]: [f"commit:{COMMITS[0]}"],
        "numpy==2.4.6": ["numpy:2.4.6"],
    }
    sizes: dict[str, int] = {}
    processor: dict[str, list[float]] = {}

    def ask(of: str) -> float:
        command = [PYTHON, "-m", "steps.impact", "--of", of, "--json", "true", "--quiet", "true"]
        done = ran(command, ROOT, MLFLOW_TRACKING_URI=uri)
        found = {item["id"] for one in json.loads(done.stdout)["subjects"] for item in one["came_of_it"]}
        expected = {thing for things in truth.of(*questions[of]).values() for thing in things}
        assert found == expected, f"{of}: {len(found ^ expected)} of {len(expected)} are wrong"
        sizes[of] = len(found)
        processor.setdefault(of, []).append(done.processor)
        return done.seconds

    for of, seconds in medians({of: lambda of=of: ask(of) for of in questions}, runs).items():
        used = statistics.median(processor[of])
        print(
            f"{of:<42}{seconds:6.1f} s, {used:5.1f} s of processor time{sizes[of]:>8,} came of it, as the truth has it",
            flush=True,
        )


if __name__ == "__main__":
    main()
