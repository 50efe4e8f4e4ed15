"""How long a `main` takes with nothing to do, against an entry point that only imports MLflow.

    python benchmarks/cached.py [--env-manager uv] [--runs 7]

Both through `.venv/bin/mlflow run`, in environments that it built, in an ordinary shell and in a container-like one
(PYTHONDONTWRITEBYTECODE=1, nothing of the user's), alternating; the medians of whole processes, and their ratio.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench import LAUNCHER, ROOT, built, machine, medians, ran, shells

PARAMS = ["-P", "source=sample:3000", "-P", "max_evals=4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-manager", default="uv")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    print(machine("mlflow"), flush=True)
    for kind, shell in shells().items():
        with tempfile.TemporaryDirectory(prefix="cached-") as folder:
            place, bare = Path(folder), Path(folder, "bare")
            bare.mkdir()
            for name in ("conda.yaml", "requirements.lock"):
                shutil.copy(ROOT / name, bare)
            (bare / "MLproject").write_text(
                "name: bare\nconda_env: conda.yaml\nentry_points:\n  main:\n    command: python -c 'import mlflow'\n"
            )

            def run(project: Path, *params: str, place: Path = place, shell: dict[str, str] = shell) -> float:
                command = [LAUNCHER, "run", project, "--env-manager", given.env_manager, *params]
                return ran(command, place, shell=shell).seconds

            built(place, given.env_manager, shell)
            print(f"{kind} shell, {given.env_manager}: first main {run(ROOT, *PARAMS):.1f} s", flush=True)
            run(bare)
            contenders = {
                "main, nothing to do": lambda run=run: run(ROOT, *PARAMS),
                "python -c 'import mlflow'": lambda run=run, bare=bare: run(bare),
            }
            middle = medians(contenders, given.runs)
        base = middle["python -c 'import mlflow'"]
        for name, seconds in middle.items():
            print(f"  {name:<26} {seconds:6.2f} s  {seconds / base:5.2f}")
    print(f"  (medians of {given.runs}; bar: 1.25)")


if __name__ == "__main__":
    main()
