"""How long a `main` takes with nothing to do, against an entry point that only imports MLflow, and one that uses it.

    python benchmarks/cached.py [--env-manager uv] [--runs 7]

Both through `.venv/bin/mlflow run`, in environments that it built, in an ordinary shell and in a container-like one
(PYTHONDONTWRITEBYTECODE=1, nothing of the user's), alternating; the medians of whole processes, and their ratio.
The one that uses MLflow opens its run and writes a tag: what any step has to.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench import LAUNCHER, ROOT, built, machine, medians, ran, shells

PARAMS = ["-P", "source=sample:3000", "-P", "max_evals=4"]
BARE = """name: bare
conda_env: conda.yaml
entry_points:
  main:
    command: python -c 'import mlflow'
  tag:
    command: python -c 'import mlflow; mlflow.start_run(); mlflow.set_tag("a", "b"); mlflow.end_run()'
"""


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
            (bare / "MLproject").write_text(BARE)

            def run(project: Path, *params: str, place: Path = place, shell: dict[str, str] = shell) -> float:
                command = [LAUNCHER, "run", project, "--env-manager", given.env_manager, *params]
                return ran(command, place, shell=shell).seconds

            built(place, given.env_manager, shell)
            print(f"{kind} shell, {given.env_manager}: first main {run(ROOT, *PARAMS):.1f} s", flush=True)
            run(bare)
            contenders = {
                "main, nothing to do": lambda run=run: run(ROOT, *PARAMS),
                "import mlflow": lambda run=run, bare=bare: run(bare),
                "import mlflow, write a tag": lambda run=run, bare=bare: run(bare, "-e", "tag"),
            }
            middle = medians(contenders, given.runs)
        done, imported, tagged = middle.values()
        for name, seconds in middle.items():
            print(f"  {name:<26} {seconds:6.2f} s")
        print(f"  main / import {done / imported:.2f} (bar: 1.25), main / tag {done / tagged:.2f}")
    print(f"  (medians of {given.runs})")


if __name__ == "__main__":
    main()
