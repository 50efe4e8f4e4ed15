"""`verify -P against=` and the script of continuous integration: what a commit moves, in a small repository."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support import repository
from tests.support.project import LAUNCHER, Result, Workplace, copied, environment, finished, workplace


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


def script(edited: Edited, place: Workplace, against: str = "HEAD~1") -> tuple[Result, str]:
    """`.ci/verify` as a job runs it, without `make setup`; its result and its summary."""
    summary = place.folder / "summary.md"
    summary.unlink(missing_ok=True)
    variables = {"MLFLOW_TRACKING_URI": place.store, "MLFLOW": str(LAUNCHER), "PROJECT": "examples/wine",
                 "ENV_MANAGER": "local", "GITHUB_STEP_SUMMARY": str(summary)}  # fmt: skip
    done = subprocess.run([".ci/verify", against], cwd=edited.top, env=environment(variables), capture_output=True,
                          text=True, check=False)  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr), summary.read_text()


@pytest.mark.slow
def test_the_script_says_what_each_commit_moves(edited, place):
    """A refactoring, another default of a parameter, and a step that fails: the job passes the first alone."""
    edited.commit("wine/classifier.py", ("def score(", "def unused() -> None:\n    pass\n\n\ndef score("))
    done, summary = script(edited, place)
    assert done.exit_code == 0, done.stderr[-3000:]
    assert done.stdout == ""
    assert "**identical: every output and every metric of every step**" in summary
    assert summary.count("| identical |") == 4 and "# Verification of this commit" in summary

    edited.commit("MLproject", ("C: {type: float, default: 1.0}", "C: {type: float, default: 0.01}"))
    edited.commit("steps/main.py", ('option("C", 1.0', 'option("C", 0.01'))
    done, summary = script(edited, place, "HEAD~2")
    assert done.exit_code == 1 and "main failed" not in done.stderr  # expected.json was not renewed
    assert "| train | val_accuracy | 0.914286 | 0.942857 | +0.0286, better | parameters: C 1 -> 0.01 |" in summary
    assert summary.count("| identical |") == 3

    edited.commit("steps/hpo.py", ("    wines =", "    raise LookupError('no wine')\n    wines ="))
    done, summary = script(edited, place)
    assert done.exit_code == 1
    assert "| hpo | **fails** | finished | fails |  | code: steps/hpo.py |" in summary
    assert "LookupError: no wine" in summary


@pytest.mark.slow
def test_finished_steps_are_taken_with_reuse_and_the_registry_stays(edited, place):
    """The second time only what registers runs; a commit that no clone has is one line."""
    first = place.run("verify", edited.wine, against="HEAD", reuse="true", workers=1)
    assert first.exit_code == 0, first.errors()
    again = place.run("verify", edited.wine, against="HEAD", reuse="true", workers=1)
    assert again.exit_code == 0 and again.stderr.count(": reused run") == 6, again.stderr
    assert place.client.search_registered_models() == []
    unknown = place.run("verify", edited.wine, against="origin/main")
    assert unknown.exit_code == 1 and unknown.stdout == ""
    assert unknown.errors().startswith("Error: 'origin/main' is no commit of this checkout\n Fetch it: git fetch")
