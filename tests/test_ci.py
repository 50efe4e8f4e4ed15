"""What continuous integration runs: its workflows name what there is, and a change's summary says what it moves."""

import os
import re
import subprocess

import pytest
import yaml

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


@pytest.mark.slow
def test_the_job_verifies_and_summarises(tmp_path):
    """The whole script, in a clone, with `make setup`: what moved, then the report of the verification."""
    clone, summary = tmp_path / "clone", tmp_path / "summary.md"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    variables = {**environment(), "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run([".ci/verify", "HEAD"], cwd=clone, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    moved, verified = summary.read_text().split("# Verification of this commit")
    assert "**identical: " in moved and "**grade identical**" in verified
