"""Whether this interpreter can run the project at all, said in a line before the first import that would fail.

Needs the standard library alone, and reads under any Python 3.8 or newer.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

from provenance.bootstrap.project import ROOT

CONDA = Path(ROOT, "conda.yaml")
OLDEST = (3, 11)  # Python; conda.yaml pins one, a newer one may do with --env-manager local


def check_platform() -> None:
    """Exit on Windows, whose Python lacks what locks files, and on a Python that cannot read this code."""
    if sys.platform == "win32":
        sys.exit(
            "Error: this project runs on Linux and macOS, not on Windows itself\n"
            " Use WSL (`wsl --install`) and run it there."
        )
    if sys.version_info < OLDEST:
        other("is Python " + platform.python_version())


def check_packages() -> None:
    """Exit when packages that this code imports are absent, or MLflow is of another major version."""
    from provenance.bootstrap.environment_check import some
    from provenance.record.packages import installed, normal

    pins = dict(re.findall(r"(?m)^ *#: ([\w.-]+)==(\S+)$", CONDA.read_text(encoding="utf-8")))
    here = installed()
    absent = sorted(name for name in pins if normal(name) not in here)
    if absent:
        other("lacks " + some(absent))
    if "mlflow" in pins and here["mlflow"].partition(".")[0] != pins["mlflow"].partition(".")[0]:
        other("has mlflow " + here["mlflow"] + ", not " + pins["mlflow"])


def other(how: str) -> None:
    """Exit: this is not the pinned environment, and what to do."""
    sys.exit(
        f"Error: this is not the environment that conda.yaml pins: {sys.executable} {how}\n"
        " Use `.venv/bin/mlflow run . --env-manager uv` (after `make setup`), or --env-manager conda or virtualenv."
        " MLflow 2 takes `uv` without a word and uses its own environment. More: docs/faq.md#installing"
    )
