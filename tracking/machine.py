"""The machine a run has: CPU model, cores it may use, variables that steer threads and numeric kernels."""

import math
import os
import platform
import subprocess
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
# Another value can mean another summation order or instruction set, and so other last bits.
VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMEXPR_NUM_THREADS",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "VECLIB_MAXIMUM_THREADS",
)


def variables() -> dict[str, str]:
    """Name -> value of those VARIABLES that are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def cores() -> int:
    """Cores this process may keep busy: its affinity, and its container's quota rounded up. At least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(CGROUP, OWN_CGROUP))))


def cpu_model() -> str:
    """The CPU's name as its maker writes it, or the architecture."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        first = ""
    lines = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in first.splitlines())}
    if "model name" in lines:
        return lines["model name"]
    if platform.system() == "Darwin":
        told = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return told.stdout.strip() or platform.machine()
    arm = [lines[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in lines]
    return " ".join([platform.processor() or platform.machine(), *arm])


def _quota(cgroup: Path, own: Path) -> float:
    """Cores that the container's CPU quota allows, the least of this process's group and those above; or infinite."""
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # not Linux
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in groups:
        if "cpu" in controllers.split(","):
            top, read = cgroup / "cpu", _first_version
        elif not controllers:
            top, read = cgroup, _second_version
        else:
            continue
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                quotas.append(read(folder))
    return min(quotas)


def _first_version(group: Path) -> float:
    return _ratio(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")


def _second_version(group: Path) -> float:
    return _ratio(group / "cpu.max")


def _ratio(*files: Path) -> float:
    """Microseconds of CPU per microseconds of time; infinite where there is no limit, or none that can be read."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return int(quota) / int(period) if quota not in ("max", "-1") else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
