"""Memory: how much is free for this process, also in a container, and how many workers it holds."""

from pathlib import Path

# Where a container's limit and use are written; version 2 of control groups, then version 1.
GROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def affordable(each: int) -> int:
    """Processes of `each` bytes that memory holds side by side, one at least."""
    return max(1, available() // max(each, 1))


def available(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Free bytes: the machine's, or what the container's limit leaves if that is less."""
    import psutil

    free = [psutil.virtual_memory().available]
    for limit, used in GROUPS:
        try:
            free.append(int((groups / limit).read_text()) - int((groups / used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(0, min(free))
