"""Where trials run: worker processes here, or a Dask cluster. Both run the same function on the same data."""

from taxi.engines.engine import Engine, EngineError

__all__ = ["Engine", "EngineError"]
