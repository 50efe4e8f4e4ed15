"""What signing, and taking only signed runs, cost a `main` that finds everything done.

    python benchmarks/signing.py [--runs 7]

In this process's environment (`local`), alternating: without a key, with one, and with trust=signed as well; medians of
whole `mlflow run` processes, and their ratio to the first. Then the parts, in milliseconds: importing the library, one
signature, one check of a record that is in memory.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import LAUNCHER, ROOT, machine, medians, ran, shells

PARAMS = ["-P", "source=sample:3000", "-P", "max_evals=4"]
PARTS = 200  # signatures, and checks, that are timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    print(machine("mlflow", "securesystemslib", "cryptography"), flush=True)
    shell = shells()["ordinary"]
    with tempfile.TemporaryDirectory(prefix="signing-") as folder:
        place, project = Path(folder), Path(folder, "project")
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".git", ".venv", "mlruns", "mlflow.db", "tests"))
        key = make_key(place / "key.pem", project / "trusted_keys" / "bench.pub")

        def run(trust: str = "experiment", **variables: str) -> float:
            command = [LAUNCHER, "run", project, "--env-manager", "local", *PARAMS, "-P", f"trust={trust}"]
            return ran(command, place, shell=shell, **variables).seconds

        print(f"first main, signed {run(LINEAGE_SIGNING_KEY=key):.1f} s", flush=True)
        contenders: dict[str, Callable[[], float]] = {
            "no key": run,
            "signed": lambda: run(LINEAGE_SIGNING_KEY=key),
            "signed, trust=signed": lambda: run("signed", LINEAGE_SIGNING_KEY=key),
        }
        middle = medians(contenders, given.runs)
        for name, seconds in middle.items():
            print(f"  {name:<22} {seconds:6.2f} s  {seconds / middle['no key']:5.3f}")
        print(f"  (medians of {given.runs})")
        for name, milliseconds in parts(place / "key.pem", project).items():
            print(f"  {name:<22} {milliseconds:6.2f} ms")


def make_key(private: Path, public: Path) -> str:
    """A new key in the file `private`, its public half among the trusted ones; the path."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.signer import CryptoSigner

    key = CryptoSigner.generate_ed25519()
    private.write_bytes(key.private_bytes)
    public.parent.mkdir()
    half = key._private_key.public_key()
    public.write_bytes(half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(private)


def parts(private: Path, project: Path) -> dict[str, float]:
    """Milliseconds: of the import in a process that has MLflow, and the medians of a signature and of a check."""
    script = (
        "import mlflow, time; t = time.perf_counter(); import securesystemslib.dsse; print(time.perf_counter() - t)"
    )
    imported = float(ran([shutil.which("python", path=str(LAUNCHER.parent)), "-c", script], private.parent).stdout)
    return {"import": imported * 1000, **in_memory(private, project)}


def in_memory(private: Path, project: Path) -> dict[str, float]:
    import os
    import sys

    sys.path.insert(0, str(ROOT))
    from provenance.signing import envelope, signing_key, trusted_keys

    os.environ[signing_key.VARIABLE] = str(private)
    key, keys = signing_key.load(), trusted_keys.read(project)
    assert key is not None
    subjects = {f"model-{number}": {"filesSha256": "a" * 64} for number in range(8)}
    found: dict[str, list[float]] = {"one signature": [], "one check": []}
    for _ in range(PARTS):
        began = time.perf_counter()
        text = envelope.sign(key, "x", subjects, {"run": "1" * 32})
        signed = time.perf_counter()
        envelope.check(text.encode(), keys, "x", subjects, {"run": "1" * 32})
        found["one signature"].append(signed - began)
        found["one check"].append(time.perf_counter() - signed)
    return {name: statistics.median(seconds) * 1000 for name, seconds in found.items()}


if __name__ == "__main__":
    main()
