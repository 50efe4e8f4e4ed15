"""What continuous integration runs: its workflows name what there is, and a change's summary says what it moves."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support import repository
from tests.support.project import ROOT, environment

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_there_is_and_trusts_pinned_actions(workflow):
    """An action by its whole commit id, for a tag can be moved; nothing may write, and no secret is read."""
    text = workflow.read_text()
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in text and "pull_request_target" not in text
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    for step in (step for job in content["jobs"].values() for step in job["steps"]):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
        else:
            assert "${{" not in step["run"], "what others wrote comes by an environment variable"
            assert set(re.findall(r"\bmake (\w+)", step["run"])) <= targets
            assert all(os.access(ROOT / name, os.X_OK) for name in re.findall(r"\.ci/\w+", step["run"]))


def moved(commit: str, root: Path) -> str:
    spec = importlib.util.spec_from_file_location("moved", ROOT / ".ci" / "moved.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.moved(commit, root)


def test_the_summary_of_a_change_says_what_it_moves(tmp_path):
    """One metric of train, from the value that the other commit expects."""
    shutil.copy(ROOT / "expected.json", tmp_path)
    before = repository.commit(tmp_path)
    assert "**grade identical**" in moved(before, tmp_path)
    content = json.loads((tmp_path / "expected.json").read_text())
    train = next(step for step in content["steps"] if step["step"] == "train")
    old, train["metrics"]["val_rmse"] = train["metrics"]["val_rmse"], 9.5
    (tmp_path / "expected.json").write_text(json.dumps(content))
    report = moved(before, tmp_path)
    assert "**grade diverged first at train: " in report
    assert f"| val_rmse | `{old}` | `9.5` |" in report
    assert moved("0" * 40, tmp_path).endswith("has no expected.json to compare with.\n")


@pytest.mark.slow
def test_the_job_verifies_and_summarises(tmp_path):
    """The whole script, in a clone: what moved, then the report of the verification."""
    clone, summary = tmp_path / "clone", tmp_path / "summary.md"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    variables = {**environment(), "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run([".ci/verify", "HEAD"], cwd=clone, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    moved_from, verified = summary.read_text().split("# Verification of this commit")
    assert "**grade identical**" in moved_from and "**grade identical**" in verified
