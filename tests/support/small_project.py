"""Projects of one small step that start as this one does, and environments for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from provenance.bootstrap import (
    environment_check,
    first_use_lock,
    installed_files,
    platform_check,
    project,
    shadowing,
    source_imports,
    start,
)
from provenance.record import packages
from tests.support.project import ROOT, environment
from tests.support.wheels import wheel

NAME = "mlflow-" + "0" * 40
MODULES = ("first", "second")
STARTING = (environment_check, first_use_lock, installed_files, packages, platform_check, project, shadowing,
            source_imports, start)  # fmt: skip
FIRST = 'if __name__ == "__main__":\n    from provenance.bootstrap.start import start_step\n\n    start_step()\n'


def lay_out(folder: Path) -> None:
    """What every step of this project imports before anything else."""
    for package in ("steps", "provenance", "provenance/bootstrap", "provenance/record"):
        (folder / package).mkdir(parents=True)
        shutil.copy(ROOT / package / "__init__.py", folder / package)
    for module in STARTING:
        shutil.copy(module.__file__, folder / Path(module.__file__).relative_to(ROOT))
    (folder / "conda.yaml").touch()  # which pins nothing


class SmallProject:
    """A project of one step that needs two packages, and an environment as MLflow names it, empty so far."""

    def __init__(self, folder: Path):
        self.project, self.environment, wheels = folder / "project", folder / "environments" / NAME, folder / "wheels"
        lay_out(self.project)
        (self.project / "conda.yaml").write_text("".join(f"  #: {name}==1.0\n" for name in MODULES))
        self.step = self.project / "steps" / "say.py"
        self.step.write_text(FIRST + "import sys, first, second\nprint(first.WORD, second.WORD, *sys.argv[1:])\n")
        wheels.mkdir()
        lock = "".join(wheel(wheels, name) for name in MODULES)
        (self.project / "requirements.lock").write_text(
            f"--require-hashes\n--no-index\n--find-links {wheels}\n{lock}elsewhere==1.0 ; sys_platform == 'win32' "
            f"--hash=sha256:{'0' * 64}\n"
        )
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, self.environment], check=True)

    def start(self, **variables: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.environment / "bin" / "python", "-m", "steps.say", "a b"], cwd=self.project, text=True,
            env=environment(variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, **variables: str) -> tuple[int, str, str]:
        step = self.start(**variables)
        out, err = step.communicate(timeout=120)
        return step.returncode, out, err

    @property
    def site(self) -> Path:
        return next(self.environment.glob("lib/*/site-packages"))
