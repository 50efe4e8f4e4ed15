"""Commands that messages and pages show begin as the user's own did, and so work for that user as they stand."""

import ast
import os
import re
import shlex
import subprocess
import sys

import pytest

from provenance.pipeline.invocation import Invocation
from tests.support.project import ROOT

# A step, seen from its child: `mlflow run`, its shell, a step, that step's shell, and the step that shows a command.
SHOW = (
    "from provenance.pipeline.invocation import for_others as o, invocation as i, python_program as p\n"
    "print(i().command('train', {'params': 'a b'}), i().program, p(), o('train', {}), sep='\\n')"
)
ITSELF = "import subprocess, sys; sys.exit(subprocess.run(['bash', '-c', sys.argv[1]]).returncode)"


@pytest.fixture
def shown(tmp_path):
    """A function that types words in a folder with `.venv/bin/mlflow` and gives the lines that the step shows."""
    program = tmp_path / ".venv" / "bin" / "mlflow"
    program.parent.mkdir(parents=True)
    step = shlex.join([sys.executable, "-c", ITSELF, f"cd {ROOT}; {shlex.join([sys.executable, '-c', SHOW])}; true"])
    program.write_text(f"#!{sys.executable}\nimport subprocess\nsubprocess.run(['bash', '-c', {step + '; true'!r}])\n")
    program.chmod(0o755)

    def run(*typed: str, path: str = "") -> list[str]:
        variables = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]}
        script = f"{shlex.join(typed)}; true"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        *lines, for_others = done.stdout.splitlines()
        assert for_others == ".venv/bin/mlflow run . -e train"  # a page has no folder, URL or option of this user
        return lines

    return run


def test_the_launcher_in_the_folder(shown):
    """As it was typed, from the folder where it was typed; parameters of that run are not carried over."""
    typed = [".venv/bin/mlflow", "run", "-P", "seed=1", ".", "-e", "hpo", "--env-manager=uv", "-P", "max_evals=2"]
    assert shown(*typed) == [
        ".venv/bin/mlflow run . -e train --env-manager uv -P 'params=a b'",
        ".venv/bin/mlflow",
        ".venv/bin/python",
    ]


def test_a_program_on_path_and_a_git_url(shown, tmp_path):
    """By its name; the version and the experiment are kept, and what is secret in the URL is not shown."""
    typed = ["mlflow", "run", "https://ada:secret@host/p.git", "-v", "abc", "--experiment-name", "my trips"]
    command, program, python = shown(*typed, path=str(tmp_path / ".venv" / "bin"))
    assert command == "mlflow run https://host/p.git -e train -v abc --experiment-name 'my trips' -P 'params=a b'"
    assert (program, python) == ("mlflow", sys.executable)


def test_a_launcher_of_another_folder(shown, tmp_path):
    """By its path."""
    path = str(tmp_path / ".venv" / "bin" / "mlflow")
    assert shown(path, "run", "/its/project")[:2] == [f"{path} run /its/project -e train -P 'params=a b'", path]


def test_a_command_for_another_experiment():
    """Its own takes the place of the one that was given; "" is MLflow's default."""
    typed = Invocation("mlflow", options=(("--experiment-id", "3"), ("--env-manager", "uv")))
    assert typed.command("plan", {}, "trips") == "mlflow run . -e plan --env-manager uv --experiment-name trips"
    assert typed.command("plan", {}, "") == "mlflow run . -e plan --env-manager uv"


def test_without_a_launcher_it_is_the_one_of_make_setup_if_there_is_one(tmp_path, monkeypatch):
    """A step that was started by itself, or on a system without /proc."""
    from provenance.pipeline import invocation

    def unknown():
        raise OSError

    monkeypatch.setattr(invocation, "_typed", unknown)
    monkeypatch.chdir(tmp_path)
    assert invocation.invocation() == Invocation("mlflow")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "mlflow").touch()
    assert invocation.invocation() == Invocation(".venv/bin/mlflow")


# A command in a text, with what it needs; `mlflow run` alone names the program, not something to type.
COMMAND = re.compile(r"(mlflow (run (\.|-)|ui|gc|runs|db|models|server)|python3? -m)\b|(mlflow run|-m) \S+ -")
ELSEWHERE = {
    # Before any step: the launcher itself is the wrong one, and the text says how to get another.
    "Use `.venv/bin/mlflow run . --env-manager uv`": "provenance/bootstrap/platform_check.py",
    "`mlflow run <project> ": "provenance/reproduce/research_object.py",  # for archives: the same for all
    "`mlflow db upgrade ": "provenance/bootstrap/first_use_lock.py",  # of the MLflow that the text names
    "Usage: python -m": "provenance/store/store_check.py",  # of the module that is being typed
}


def texts(path):
    """The string constants of a module, parts of one text joined, without docstrings."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    parts |= {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
              and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def test_no_text_has_a_command_of_its_own():
    """It would not work for who has no `mlflow` on PATH, no conda, or another folder."""
    found = {
        text: path.relative_to(ROOT).as_posix()
        for package in ("steps", "taxi", "provenance", "search", "runtime")
        for path in (ROOT / package).rglob("*.py")
        for text in texts(path)
        if COMMAND.search(text)
    }
    left = {text: path for text, path in found.items() if not any(part in text for part in ELSEWHERE)}
    assert not left
    assert {part: path for part, path in ELSEWHERE.items() if not any(part in text for text in found)} == {}
