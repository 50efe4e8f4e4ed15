"""How many examples hypothesis tries, and which."""

from hypothesis import HealthCheck, Phase, settings


def examples(count: int, shrink: bool = True):
    """Hypothesis' settings: always the same few, or many others each time."""
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    return settings(
        max_examples=count, phases=phases, deadline=None, derandomize=count < 100, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
