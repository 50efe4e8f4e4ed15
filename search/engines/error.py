"""What every engine refuses with; alone here, so that tasks that are no trials depend on no trial's code."""


class EngineError(ValueError):
    """An engine that cannot be reached or cannot do our work, and what to do."""
