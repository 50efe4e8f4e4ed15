"""User and password, or token, for the tracking server, from the same variables that MLflow's clients read."""

import base64
import os
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def authorization(url: str) -> str | None:
    """The header `Authorization` for `url`; None if `url` is not on the server that MLFLOW_TRACKING_URI names."""
    if _origin(url) != _origin(os.environ.get("MLFLOW_TRACKING_URI", "")):
        return None
    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user is not None:
        words = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return f"Basic {base64.b64encode(words.encode()).decode()}"
    return f"Bearer {token}" if token else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
