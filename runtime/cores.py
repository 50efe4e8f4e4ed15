"""How many processes or threads may be busy at once."""


def cores() -> int:
    """Cores that this process may use, at least 1: its affinity and its container's limits count."""
    import joblib

    count: int = joblib.cpu_count()
    return count
