"""The machine a run has: CPU model, cores it may use, variables that steer threads and numeric kernels."""

import math
import os
import platform
import subprocess
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
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
    return max(1, math.ceil(min(allowed, _quota(CGROUP))))


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


def _quota(cgroup: Path) -> float:
    """Cores the container's CPU quota allows; infinite without one."""
    for name, read in (("cpu.max", _two_numbers), ("cpu/cpu.cfs_quota_us", _with_period)):
        try:
            return read(cgroup / name)
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return math.inf


def _two_numbers(file: Path) -> float:
    quota, period = file.read_text().split()
    return math.inf if quota == "max" else int(quota) / int(period)


def _with_period(file: Path) -> float:
    quota = int(file.read_text())
    return math.inf if quota < 0 else quota / int(file.with_name("cpu.cfs_period_us").read_text())
