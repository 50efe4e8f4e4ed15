"""A step that is started sees first to what it stands on; a module that is imported does nothing of the kind."""

import ast
import subprocess
import sys

import pytest

from tests.support.project import ROOT, environment
from tests.support.small_project import FIRST

PACKAGES = ("runtime", "search", "taxi", "provenance", "steps")
STARTED = [path for path in (ROOT / "steps").glob("*.py") if '__name__ == "__main__"' in path.read_text()]
# Raises at whatever starts a process; and says what was changed of how Python imports and ends.
WATCHED = """
import platform, sys
platform.platform()  # which asks `uname`, once, for MLflow's import
STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}
def refuse(event, arguments):
    if event in STARTS:
        raise AssertionError(f"an import started {arguments}")
before = [*sys.meta_path]
sys.addaudithook(refuse)
import importlib
for name in NAMES:
    importlib.import_module(name)
print([finder for finder in sys.meta_path if finder not in before and "provenance" in type(finder).__module__])
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_an_import_starts_no_process_and_changes_no_import(package):
    """Of any module: completing the environment, and reading modules from source, are a call of their own."""
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py")]
    modules = sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
    program = f"NAMES = {modules}\n{WATCHED}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("path", STARTED, ids=lambda path: path.stem)
def test_what_is_started_makes_the_first_call_before_it_imports_anything(path):
    """Else it could run on stale bytecode or in half an environment; a step of a new project needs the same lines."""
    _, first, *_ = ast.parse(path.read_text()).body
    assert ast.unparse(first) == ast.unparse(ast.parse(FIRST))
