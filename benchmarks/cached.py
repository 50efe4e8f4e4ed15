"""How long a `main` takes with nothing to do, against an entry point that only imports MLflow.

    python benchmarks/cached.py [--env-manager uv]

Both through `mlflow run` in the same environment manager, alternating; the medians of whole processes, and their ratio.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = Path(sys.executable).parent / "mlflow"
PARAMS = ["-P", "source=sample:3000", "-P", "max_evals=4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-manager", default="uv")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare")
        bare.mkdir()
        for name in ("conda.yaml", "requirements.lock"):
            shutil.copy(ROOT / name, bare)
        (bare / "MLproject").write_text(
            "name: bare\nconda_env: conda.yaml\nentry_points:\n  main:\n    command: python -c 'import mlflow'\n"
        )

        def run(project: Path, *params: str) -> float:
            started = time.perf_counter()
            subprocess.run(
                [LAUNCHER, "run", project, "--env-manager", given.env_manager, *params],
                cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return time.perf_counter() - started

        print("first main:", f"{run(ROOT, *PARAMS):.1f} s", flush=True)
        run(bare)
        cached, imported = [], []
        for _ in range(given.runs):
            cached.append(run(ROOT, *PARAMS))
            imported.append(run(bare))
    print(f"Python {platform.python_version()}, {platform.machine()}, {given.env_manager}, {given.runs} runs each")
    print(f"main, nothing to do     median {statistics.median(cached):6.2f} s")
    print(f"python -c import mlflow median {statistics.median(imported):6.2f} s")
    print(f"ratio of medians        {statistics.median(cached) / statistics.median(imported):6.2f}  (bar: 1.5)")


if __name__ == "__main__":
    main()
