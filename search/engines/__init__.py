"""Where tasks run: processes here, or a Dask cluster. Both do the same on the same data."""

from search.engines.error import EngineError

__all__ = ["EngineError"]
