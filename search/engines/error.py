"""What every engine refuses with; alone here, so that who writes months depends on no trial's code."""


class EngineError(ValueError):
    """An engine that cannot be reached or cannot do our work, and what to do."""
