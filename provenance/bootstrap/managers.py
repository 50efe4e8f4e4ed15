"""Whether a step runs in the environment that its run's environment manager built for it."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from mlflow.entities import Run

from provenance.record import names

REMEDIES = {
    "conda": "Set MLFLOW_CONDA_HOME to conda's own folder and run again with no other environment active.",
    "uv": "Run again with no other environment active.",
    "virtualenv": "Run again with no other environment active.",
}


class WrongEnvironment(ValueError):
    """A step that runs in another environment than its run says."""


def check_interpreter(run: Run | None, root: Path, prefix: str = sys.prefix) -> None:
    """Raise WrongEnvironment unless `prefix` is what the manager of `run` made for the project in `root`.

    With `local`, or outside a run, any interpreter will do.
    """
    manager = run.data.tags.get(names.PROJECT_ENV) if run else None
    if run is None or manager not in REMEDIES:
        return
    folder, wanted = Path(prefix), environment_name(manager, root)
    made_by = (folder / "conda-meta").is_dir() if manager == "conda" else (folder / "pyvenv.cfg").is_file()
    if not (made_by and re.fullmatch(wanted, folder.name)):
        raise WrongEnvironment(
            f"run {run.info.run_id} says {manager}, and its step runs in {prefix}, which is not the environment that "
            f"{manager} built for it\n {REMEDIES[manager]}"
        )


def environment_name(manager: str, root: Path) -> str:
    """A pattern of the name that MLflow gives the environment of the project in `root`."""
    if manager == "conda":
        text = (root / "conda.yaml").read_text(encoding="utf-8")
        return f"mlflow-{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}"
    try:
        from mlflow.utils.environment import _PythonEnv
        from mlflow.utils.virtualenv import _get_virtualenv_name

        name: str = _get_virtualenv_name(_PythonEnv.from_conda_yaml(str(root / "conda.yaml")), root)
        return name
    except (ImportError, AttributeError):  # another MLflow, which does it in another way
        return r"mlflow-[0-9a-f]{40}"
