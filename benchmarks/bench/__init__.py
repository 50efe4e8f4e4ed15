"""What the benchmarks share: the machine in a line, timed commands, peak memory of a tree of processes, fits."""

import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.engines.shipping import Code

ROOT = Path(__file__).resolve().parents[2]
TLC = ROOT.parent / "shared" / "tlc"  # real months, where they lie beside the project
PYTHON = sys.executable
LAUNCHER = Path(sys.executable).parent / "mlflow"
LOOK_SECONDS = 0.05  # between two looks at memory

# A benchmark has a store of its own: nothing goes to the one that its user has set for other work.
for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
    del os.environ[name]


def machine(*packages: str) -> str:
    """Processor, cores, load, Python and the packages named."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {versions}"
    )


def metrics(here: Path, entry_point: str) -> dict[str, float]:
    """What the newest run of `entry_point` measured, in the store of the folder it was started from."""
    from mlflow import MlflowClient

    wanted = f"tags.`mlflow.project.entryPoint` = '{entry_point}'"
    [run] = MlflowClient(f"sqlite:///{here}/mlflow.db").search_runs(["0"], wanted, max_results=1)
    return dict(run.data.metrics)


def medians(contenders: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """Median of what each contender returns in `runs` runs, all of them once in turn before any is run again."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(runs):
        for name, contender in contenders.items():
            seen[name].append(contender())
            print(f"  run {number + 1}: {name} {seen[name][-1]:.2f}", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in seen.items()}


@dataclass(frozen=True)
class Ran:
    """A finished command: seconds of wall time, and of processor time with all its children, peak bytes, its output.

    On a busy machine the processor time says more.
    """

    seconds: float
    processor: float
    peak: int
    stdout: str


def shells() -> dict[str, dict[str, str]]:
    """The environment variables of two kinds of shell.

    In a container's nothing of a user's stands, and Python may write no bytecode. What tells of the machine's network,
    certificates, stays: environments are built there, too.
    """
    ordinary = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    ordinary["PATH"] = os.pathsep.join([str(LAUNCHER.parent), ordinary.get("PATH", os.defpath)])
    kept = {name: ordinary[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in ordinary}
    return {"ordinary": ordinary, "container-like": kept | {"PYTHONDONTWRITEBYTECODE": "1"}}


def built(place: Path, manager: str, shell: Mapping[str, str]) -> str:
    """Interpreter of the environment that `mlflow run` builds for this project, or built earlier, and uses."""
    if manager == "local":
        return str(PYTHON)
    run = [LAUNCHER, "run", ROOT, "-e", "preprocess", "--env-manager", manager, "-P", "source=sample:1000"]
    ran(run, place, shell=shell)
    with sqlite3.connect(place / "mlflow.db") as store:
        tags = "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'lineage.env_folder' ORDER BY start_time"
        *_, (folder,) = store.execute(tags)
    return os.path.join(folder, "bin", "python")


def ran(command: Sequence[object], folder: Path, look: str | None = None, shell: Mapping[str, str] = os.environ,
        **environment: str) -> Ran:  # fmt: skip
    """Run a command to its end, in that `shell` with more variables; its error output is shown only when it fails.

    With `look`, watch the memory of the first process in it whose command line holds that word, and of its children.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began, used = time.perf_counter(), _processor()
        words = [str(word) for word in command]
        process = subprocess.Popen(
            words, cwd=folder, stdout=out, stderr=errors, env={**shell, **environment}, text=True
        )
        watch = _Watch(process.pid, look) if look is not None else None
        process.wait()
        seconds = time.perf_counter() - began
        peak = watch.end() if watch else 0
        out.seek(0), errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(words)}\n{errors.read()[-3000:]}")
        return Ran(seconds, _processor() - used, peak, out.read())


def _processor() -> float:
    """Seconds of processor time of all children that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch(threading.Thread):
    """The largest sum of the proportional set sizes of a process and all its descendants: shared pages count once."""

    def __init__(self, pid: int, word: str) -> None:
        super().__init__(daemon=True)
        self._pid, self._word, self._peak, self._ended = pid, word, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            there = next((pid for pid in _family(self._pid) if self._word in _command(pid)), None)
            if there is not None:
                self._peak = max(self._peak, sum(map(_pss, _family(there))))

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self._peak


def _family(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        try:
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return "" if words[1:2] == [b"-c"] else b" ".join(words).decode()  # not the shell that starts it
    except OSError:
        return ""


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def worker_code() -> "Code":
    """What a cluster's workers need for trials that do nothing."""
    from search.engines.shipping import Code

    found = [path for package in ("search", "runtime") for path in (ROOT / package).rglob("*.py")]
    return Code("benchmark", tuple(path.relative_to(ROOT).as_posix() for path in found))
