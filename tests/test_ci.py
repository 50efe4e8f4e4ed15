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


STAND_IN = """\
#!/usr/bin/env bash
# mlflow, whose runs print what a real one does, and fail as told
case "$*" in
  *against=*) echo "# What this change moves"; exit "$AGAINST" ;;
  *verify*) echo "run 00000000000000000000000000000001"; echo "run 00000000000000000000000000000002"; exit "$VERIFY" ;;
  *0000000002*) echo "# Verification of this commit" > "${@: -1}/report.md" ;;
esac
"""


@pytest.mark.parametrize(("against", "verify"), [(0, 0), (1, 0), (0, 1)])
def test_a_job_fails_with_either_check_and_has_both_reports(tmp_path, against, verify):
    """Markdown alone in the summary, or on stdout where there is no job."""
    launcher = tmp_path / "mlflow"
    launcher.write_text(STAND_IN)
    launcher.chmod(0o755)
    variables = {**environment(), "MLFLOW": str(launcher), "AGAINST": str(against), "VERIFY": str(verify)}
    reports = "# What this change moves\n# Verification of this commit\n"
    done = subprocess.run([ROOT / ".ci" / "verify", "HEAD~1"], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (max(against, verify), reports)
    summary = tmp_path / "summary.md"
    variables["GITHUB_STEP_SUMMARY"] = str(summary)
    done = subprocess.run([ROOT / ".ci" / "verify", "HEAD~1"], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout, summary.read_text()) == (max(against, verify), "", reports)


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
