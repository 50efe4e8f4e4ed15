"""How much memory is free for this process, also in a container, and how many workers fit into it."""

from pathlib import Path

# Files with a container's limit and use: of control groups version 2, then version 1.
GROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def affordable(each: int) -> int:
    """The number of processes of `each` bytes that fit into the free memory; at least 1."""
    return max(1, available() // max(each, 1))


def available(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Free memory in bytes: that of the machine, or that of the container if it is less."""
    import psutil

    free = [psutil.virtual_memory().available]
    for limit, used in GROUPS:
        try:
            free.append(int((groups / limit).read_text()) - int((groups / used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(0, min(free))
