"""`verify -P against=` and the script of continuous integration: what a commit moves, in a small repository."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support import repository
from tests.support.project import LAUNCHER, Workplace, copied, environment, finished, workplace


@dataclass
class Edited:
    """A repository in which examples/wine is edited and committed."""

    top: Path

    @property
    def wine(self) -> Path:
        return self.top / "examples" / "wine"

    def commit(self, name: str, *edits: tuple[str, str]) -> str:
        """Replace text in a file of the project, and commit. The commit's id."""
        text = (self.wine / name).read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        (self.wine / name).write_text(text)
        return repository.commit(self.top)


@pytest.fixture
def edited(tmp_path) -> Edited:
    project = Edited(copied(tmp_path / "repository"))
    repository.commit(project.top)
    return project


@pytest.fixture
def place(tmp_path, migrated_store) -> Workplace:
    return workplace(tmp_path / "place", migrated_store)


def of_one_step(project: Edited) -> None:
    """Leave `preprocess` alone, of everything."""
    file = project.wine / "MLproject"
    content = yaml.safe_load(file.read_text())
    points = content["entry_points"]
    alone = points["preprocess"]
    command = alone["command"].replace("steps.main preprocess", "steps.main main")
    points["main"] = {"parameters": alone["parameters"], "command": command}
    file.write_text(yaml.safe_dump(content))
    declared = (project.wine / "steps" / "pipeline.py").read_text()
    rest = declared[declared.index('        Step("train"') : declared.index("    ),\n    headline")]
    project.commit("steps/pipeline.py", (rest, ""))
    project.commit("steps/main.py", (", train.train, hpo.hpo, register.register", ""))


@pytest.mark.slow
def test_a_step_that_a_commit_broke_is_said_and_fails(edited, place):
    """Of a project of one step; stdout is the report alone, the step's own words are in it."""
    of_one_step(edited)
    commit = edited.commit("steps/preprocess.py", ("    with step", "    raise LookupError('no wine')\n    with step"))
    command = [sys.executable, "-m", "steps.main", "verify", "--against", "HEAD~1"]
    done = finished(command, edited.wine, environment({"MLFLOW_TRACKING_URI": place.store}))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[:3] == ["# What this change moves", "", "**preprocess fails after this change**"], done.stderr[-3000:]
    assert f"- after: commit {commit}" in lines
    assert "| preprocess | **fails** | finished | fails |  | code: steps/preprocess.py |" in lines
    assert "LookupError: no wine" in lines and lines[-1] == "```", done.stdout


@pytest.mark.slow
def test_the_script_says_that_a_refactoring_moves_nothing(edited, place):
    """`.ci/verify` as a job runs it, but for `make setup`: what moved, then the verification, and nothing on stdout."""
    edited.commit("wine/classifier.py", ("def score(", "def unused() -> None:\n    pass\n\n\ndef score("))
    summary = place.folder / "summary.md"
    variables = {"MLFLOW_TRACKING_URI": place.store, "MLFLOW": str(LAUNCHER), "PROJECT": "examples/wine",
                 "ENV_MANAGER": "local", "GITHUB_STEP_SUMMARY": str(summary)}  # fmt: skip
    done = subprocess.run([".ci/verify", "HEAD~1"], cwd=edited.top, env=environment(variables), capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-3000:]
    moved, verified = summary.read_text().split("# Verification of this commit")
    assert "**identical: every output and every metric of every step**" in moved
    assert moved.count("| identical |") == 4 and "**grade identical**" in verified


@pytest.mark.slow
def test_a_parameter_a_broken_step_and_an_unknown_commit(edited, place):
    """With reuse only what changed runs, and what registers; one's own registry stays as it is."""
    edited.commit("MLproject", ("C: {type: float, default: 1.0}", "C: {type: float, default: 0.01}"))
    edited.commit("steps/main.py", ('option("C", 1.0', 'option("C", 0.01'))
    done = place.run("verify", edited.wine, against="HEAD~2", reuse="true", workers=1)
    assert done.exit_code == 0, done.errors()
    row = "| train | val_accuracy | 0.914286 | 0.942857 | +0.0286, better | parameters: C 1 -> 0.01 |"
    assert row in done.stdout.splitlines()
    assert done.stdout.count("| identical |") == 3
    assert done.stderr.count(": reused run") == 2  # preprocess and hpo of the second side

    edited.commit("steps/hpo.py", ("    wines =", "    raise LookupError('no wine')\n    wines ="))
    done = place.run("verify", edited.wine, against="HEAD~1", reuse="true", workers=1)
    assert done.exit_code == 1
    assert "| hpo | **fails** | finished | fails |  | code: steps/hpo.py |" in done.stdout.splitlines()
    assert "LookupError: no wine" in done.stdout.splitlines()
    assert done.stdout.splitlines()[0] == "# What this change moves"
    assert place.client.search_registered_models() == []

    done = place.run("verify", edited.wine, against="origin/main")
    assert done.exit_code == 1 and done.stdout == ""
    assert done.errors().startswith("Error: 'origin/main' is no commit of this checkout\n Fetch it: git fetch")
