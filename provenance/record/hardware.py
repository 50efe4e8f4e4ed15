"""The machine of a run: its CPU model, and the variables that control threads and numeric kernels."""

import os
import platform
import subprocess
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Another value can change the order of a sum or the instruction set, and so the last bits of a result.
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
    """Name -> value of the VARIABLES that are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def cpu_model() -> str:
    """The CPU's model name, or its architecture if it gives no name."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        first = ""
    lines = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in first.splitlines())}
    if "model name" in lines:
        return lines["model name"]
    if platform.system() == "Darwin":
        answer = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return answer.stdout.strip() or platform.machine()
    arm = [lines[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in lines]
    return " ".join([platform.processor() or platform.machine(), *arm])
