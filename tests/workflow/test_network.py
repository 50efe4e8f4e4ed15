"""What goes over the network: nothing, once the packages are there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import LAUNCHER, ROOT, environment

HOME = re.compile(r"AF_UNIX|AF_NETLINK|inet_addr\(\"127\.|\"::1\"|::ffff:127\.")
# In a network of its own, whose loopback it switches on, start the rest of the command line.
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 1 | 0x40))  # SIOCSIFFLAGS: up, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


def alone(command: list) -> list:
    """`command` where there is no network but loopback."""
    if not shutil.which("unshare") or os.geteuid():
        pytest.skip("left out: a network of its own, which takes root and unshare")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("left out: a network of its own, which this machine does not allow")
    return ["unshare", "-n", sys.executable, "-c", ALONE, *command]


def traced(command: list, log: Path) -> list:
    """`command` and all that it starts, each address it wants to reach noted in `log`."""
    if not shutil.which("strace"):
        pytest.skip("left out: addresses that a run wants to reach, as there is no strace")
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", log, *command]


def foreign(log: Path) -> list[str]:
    """Calls that name an address which is not this machine's; a name server's is one."""
    calls = [line for line in log.read_text(errors="replace").splitlines() if "sa_family" in line]
    return [line for line in calls if not HOME.search(line)]


def user(**more: str) -> dict[str, str]:
    """Not as in a test or in continuous integration, where MLflow sends nothing anyway."""
    silent = ("PYTEST_", "CI", "GITHUB_", "GITLAB_", "TRAVIS", "JENKINS_", "DO_NOT_TRACK", "BUILDKITE")
    return {name: value for name, value in environment().items() if not name.startswith(silent)} | more


def run_main(folder: Path, env: dict[str, str], entry_point: str = "main", *, apart: bool) -> list[str]:
    given = ["-P", "source=sample:3000", "-P", "max_evals=4"] if entry_point == "main" else []
    command = traced([LAUNCHER, "run", ROOT, "-e", entry_point, "--env-manager", "local", *given], folder / "calls")
    command = alone(command) if apart else command
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return foreign(folder / "calls")


@pytest.mark.slow
def test_a_whole_main_reaches_for_no_foreign_address(tmp_path):
    """Launcher, steps, trials: without a network it ends well, and it did not even try."""
    assert run_main(tmp_path, user(), apart=True) == []


@pytest.mark.slow
def test_who_wants_to_send_usage_data_may(tmp_path):
    """What the user says stands; and the test above would see it."""
    found = run_main(tmp_path, user(MLFLOW_DISABLE_TELEMETRY="false"), "gc", apart=True)
    assert found != []


SAID = "import os; print(os.environ.get('MLFLOW_DISABLE_TELEMETRY'), os.environ.get('DO_NOT_TRACK'))"


@pytest.mark.parametrize(
    ("said", "told"),
    [({}, "true true"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "false None"), ({"DO_NOT_TRACK": "0"}, "None 0")],
)
def test_usage_data_is_off_unless_the_user_says_otherwise(said, told):
    """In our launcher, which tells of `mlflow run`, and in a step, which another launcher may have started."""
    step = (
        f"import sys; sys.path[:] = {sys.path}; from provenance.bootstrap.start import start_step; start_step(); {SAID}"
    )
    for command in (["-c", SAID], ["-S", "-c", step]):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=user(**said), capture_output=True, text=True)
        assert done.stdout.strip() == told, done.stderr
