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
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import LAUNCHER, PYTHON, ROOT, machine, medians, ran

sys.path.insert(0, str(ROOT))

from provenance.store.project_identity import identity
from tests.support.bulk_store import BulkStore
from tests.support.impact_store import COMMITS, NAME, ImpactStore, Truth, month_digest
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=470)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--server", action="store_true")
    given = parser.parse_args()
    print(machine("mlflow"), flush=True)
    with tempfile.TemporaryDirectory(prefix="impact-") as name:
        folder = Path(name)
        truth = filled(folder, given.chains)
        with sqlite3.connect(folder / "mlflow.db") as database:
            (count,) = database.execute("SELECT count(*) FROM runs").fetchone()
            (tags,) = database.execute("SELECT count(*) FROM tags").fetchone()
        with served(folder) if given.server else contextlib.nullcontext(f"sqlite:///{folder}/mlflow.db") as uri:
            print(f"{count:,} runs with {tags:,} tags, {'mlflow server' if given.server else 'sqlite'}", flush=True)
            asked(folder, uri, truth, given.runs)


def filled(folder: Path, chains: int) -> Truth:
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    store = BulkStore(folder / "mlflow.db", folder / "artifacts", project=identity(ROOT))
    return ImpactStore(store, trials=25).fill(chains)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [str(LAUNCHER), "server", "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--workers", "2"]  # fmt: skip
    with background(command, folder / "server.log", environment(), folder) as server:
        wait_for_answer(f"http://127.0.0.1:{port}/health", folder / "server.log", server)
        yield f"http://127.0.0.1:{port}"


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

    def ask(of: str) -> float:
        command = [PYTHON, "-m", "steps.impact", "--of", of, "--json", "true", "--quiet", "true"]
        done = ran(command, ROOT, MLFLOW_TRACKING_URI=uri)
        found = {item["id"] for one in json.loads(done.stdout)["subjects"] for item in one["came_of_it"]}
        expected = {thing for things in truth.of(*questions[of]).values() for thing in things}
        assert found == expected, f"{of}: {len(found ^ expected)} of {len(expected)} are wrong"
        sizes[of] = len(found)
        return done.seconds

    for of, seconds in medians({of: lambda of=of: ask(of) for of in questions}, runs).items():
        print(f"{of:<42}{seconds:6.1f} s  {sizes[of]:>6,} came of it, as the truth has it", flush=True)


if __name__ == "__main__":
    main()
