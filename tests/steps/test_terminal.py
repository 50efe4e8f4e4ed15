"""What servers, records and users say reaches a terminal and a page as one printable line, whatever is in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException

from provenance.commands.plan import drawing
from provenance.pipeline.cli import checked
from provenance.pipeline.output import echo
from provenance.pipeline.session import RunError, Session
from provenance.record.run_page import page
from provenance.record.validation import cell, code
from provenance.reuse.cache import Hit
from steps.options import OPTIONS, StepCommand, options
from steps.pipeline import PIPELINE
from tests.support.project import ROOT, environment
from tests.support.records import METRICS, RECORD

# Colours, a title, a cleared screen, line ends of every kind, what turns text round, half of a letter, Markdown.
HOSTILE = (
    "a\x1b[31mred\x1b]0;title\x07\x1b[2J\r\nrun 1\u2028x\u2029y\x0bz\x85\u202eback\u2066\udce4 | `<img src=x>` [l](u)"
)


def sound(text: str) -> bool:
    """Printable, and no line of it begins with what HOSTILE wants to begin one with."""
    return all(line.isprintable() and not line.startswith("run 1") for line in text.split("\n"))


def test_what_a_step_prints_is_one_line(capsys):
    """On stdout and, of progress, on stderr: a reused run's user, as `step_run` and `graph` say it."""
    hit = Hit("1" * 32, HOSTILE, 0, RECORD, METRICS)
    Session(PIPELINE, None, None).say(f"reused run {hit.run_id} (by {hit.user}, {Session.when(hit)})")
    echo(f"preprocess  reuse run {hit.run_id} ({hit.user})")
    echo(HOSTILE, err=True)
    for text, lines in zip(capsys.readouterr(), (1, 2), strict=True):
        assert sound(text) and text.count("\n") == lines, text
        assert "red" in text and "back" in text


def test_a_shell_without_the_letter_ends_no_step():
    """A strict ASCII terminal: no UnicodeEncodeError, neither of our lines nor of a library's."""
    program = "import click\nfrom provenance.pipeline.cli import checked\nfrom provenance.pipeline.output import echo\n"
    program += "@click.command()\n@checked\n"
    program += "def step():\n echo('a ä')\n print('b ö')\nstep()"
    shell = environment({"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"})
    done = subprocess.run([sys.executable, "-c", program], env=shell, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line[:1] for line in done.stdout.splitlines()] == [b"a", b"b"]


def test_steps_print_by_no_other_way():
    """Else one place would be forgotten. JSON escapes by itself; the others print constants and paths."""
    plan = ROOT / "provenance" / "commands" / "plan.py"
    found = set()
    for path in [*(ROOT / "steps").rglob("*.py"), *plan.parent.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in (
                "click.echo",
                "print",
                "click.secho",
            ):
                found.add((path.name, name))
    assert found == {("plan.py", "click.echo")}
    assert sum("click.echo(json.dumps(" in line for line in plan.read_text().splitlines()) == 1


@pytest.mark.parametrize("error", [RunError(f"run of {HOSTILE}\n Give another."), MlflowException(HOSTILE),
                                   FileNotFoundError(HOSTILE), ValueError(HOSTILE)])  # fmt: skip
def test_an_error_that_repeats_it_gives_no_orders(error, monkeypatch):
    """Errors of ours keep their second line; a server's are one."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    @click.command()
    @checked
    def command():
        raise error

    result = CliRunner().invoke(command)
    if result.exit_code == 2:
        assert "\x1b" not in result.output and "\u202e" not in result.output and "\r" not in result.output
        if isinstance(error, MlflowException):
            assert result.output.count("\n") == 1
    else:
        assert result.exception is error  # a mistake of ours: its traceback


def test_a_pages_cells_hold_it():
    """A run's description, a report's cells, the drawing of a plan: no row, markup or link of its own."""
    record = replace(RECORD, params={"model": HOSTILE}, placement={"source": HOSTILE})
    for line in page(record, "0").split("\n"):
        assert line.isprintable()
        assert line.count("`") % 2 == 0
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 3, line
    assert "<img" not in cell(HOSTILE) and "`" not in cell(HOSTILE) and "[l]" not in cell(HOSTILE).replace("\\[", "")
    assert code(HOSTILE).count("`") == 2
    rows = [{"step": "train", "reuse": False, "run_id": None, "when": None, "user": None, "why": [HOSTILE]}]
    assert all(line.isprintable() for line in drawing(PIPELINE, rows))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--max-evals", "ten"], "Error: Invalid value for -P max_evals: 'ten' is not a valid integer range.\n"),
        (["--max-evals", "0"], "Error: Invalid value for -P max_evals: 0 is not in the range x>=1.\n"),
        (
            ["--model", "x"],
            "Error: Invalid value for -P model: 'x' is not one of 'linear', 'random_forest', 'xgboost'.\n",
        ),
        (["--foo-bar", "1"], "Error: -P foo_bar is no parameter of hpo; it has: max_evals, model, quiet\n"),
    ],
)
def test_a_wrong_parameter_is_said_as_it_was_given(args, expected, monkeypatch):
    """`mlflow run -P max_evals=ten`; who types the command itself is told of its own flags."""

    @click.command(name="hpo", cls=StepCommand)
    @options("max_evals", "model", "quiet")
    def hpo(**params) -> None:
        pass

    assert set(OPTIONS) >= {"max_evals", "model", "quiet"}
    monkeypatch.setenv("MLFLOW_RUN_ID", "1" * 32)
    result = CliRunner().invoke(hpo, args)
    assert (result.exit_code, result.output) == (2, expected)
    monkeypatch.delenv("MLFLOW_RUN_ID")
    result = CliRunner().invoke(hpo, args)
    assert result.exit_code == 2
    assert args[0] in result.output and "-P" not in result.output


def test_every_entry_point_says_it_so():
    """Each command of MLproject is a StepCommand."""
    import importlib

    import yaml

    for name in yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]:
        assert isinstance(getattr(importlib.import_module(f"steps.{name}"), name), StepCommand), name


def test_a_name_for_a_person_is_not_taken_for_markup():
    """What is plain stays as it is."""
    assert cell("ada (2 runs), 5 > 3") == "ada (2 runs), 5 > 3"
    assert code("models:/nyc@champion") == "`models:/nyc@champion`"
