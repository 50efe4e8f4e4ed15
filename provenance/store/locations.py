"""The location of an artifact, and whether it may be opened. MLflow's clients send credentials to any address.

The creator of an experiment chooses the location of its artifacts: any `http://` address, or a folder of the reader. So
only artifacts with an id of the tracking store are opened, and credentials are sent only to its server.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path

from provenance.record.digest import DigestError, check_name

_RUN = re.compile(r"runs:/([0-9a-f]{32})/(.+?)/?")
_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})/?")
_VERSION = re.compile(r"models:/([^/@:]+)/(\d+)/?")
_BUCKETS = ("s3", "gs", "wasbs", "abfss")  # each client has credentials of its own, for its own cloud
_AZURE = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net")  # hosts, which stand in the URI
_HOSTS = {"wasbs": _AZURE, "abfss": _AZURE}
_PORTS = {"http": 80, "https": 443}


class LocationError(ValueError):
    """A URI names a location that a record or an experiment may not name."""


def is_stored(uri: str) -> bool:
    """Whether `uri` names an artifact by an id or a version that the tracking store gave."""
    return any(pattern.fullmatch(uri) for pattern in (_RUN, _MODEL, _VERSION))


def of_stored(uri: str) -> str:
    """Where the artifact of a run, a logged model or a model version lies.

    Raises LocationError for any other URI, and for a place that is not the run's or the model's own.
    """
    client = MlflowClient()
    if match := _VERSION.fullmatch(uri):
        source = client.get_model_version(match[1], match[2]).source or ""
        if not _MODEL.fullmatch(source):
            raise LocationError(f"{uri} was made of {source!r:.200}, not of a logged model of this tracking store")
        uri = source
    if match := _MODEL.fullmatch(uri):
        return _own(uri, client.get_logged_model(match[1]).artifact_location, match[1])
    if match := _RUN.fullmatch(uri):
        try:
            check_name(match[2], "The URI")
        except DigestError as error:
            raise LocationError(str(error)) from None
        root = _own(uri, client.get_run(match[1]).info.artifact_uri, match[1])
        location: str = append_to_uri_path(root, match[2])
        local, home = folder(location), folder(root)
        if local and not (home and local.resolve().is_relative_to(home.resolve())):
            raise LocationError(f"{uri} is a link out of the run's own folder")
        return location
    raise LocationError(f"{uri!r:.200} is no artifact of this tracking store (runs:/<run id>/..., models:/...)")


def of_given(uri: str) -> str:
    """The location of an artifact that the user named. It may be a folder or a bucket. Raises LocationError."""
    if is_stored(uri):
        return of_stored(uri)
    if ":/" not in uri:
        return Path(uri).absolute().as_uri()
    _allowed(uri, uri)
    return uri


def check_own(run: Run) -> None:
    """Raise LocationError when what `run` is to leave would go, with user and password, to another server.

    The author of an experiment chose where its artifacts lie.
    """
    _allowed(f"experiment {run.info.experiment_id}, which the run is in,", run.info.artifact_uri)


def folder(location: str) -> Path | None:
    """`location` as a path of this machine; None when it is none."""
    return Path(local_file_uri_to_path(location)) if urlsplit(location).scheme in ("", "file") else None


def _own(uri: str, root: str, made: str) -> str:
    """`root` when it is the place that the store made for `made`, the id of a run or a logged model.

    It ends in that id whatever experiment it belongs to, so it is nothing that was there before; a link in its place
    would be.
    """
    root = root.rstrip("/")
    _allowed(uri, root)
    local = folder(root)
    places = [urlsplit(root).path] if local is None else [local.as_posix(), local.resolve().as_posix()]
    if not all(place.endswith(f"/{made}/artifacts") for place in places):
        raise LocationError(f"{uri} lies at {root!r:.200}, which is not its own place: the store was altered")
    return root


def _allowed(uri: str, location: str) -> None:
    parts, server = urlsplit(location), urlsplit(mlflow.get_tracking_uri())
    scheme = parts.scheme.lower()
    if scheme in ("", "file") and parts.netloc in ("", "localhost"):
        return
    if scheme == "mlflow-artifacts" and (not parts.netloc or parts.netloc == server.netloc):
        return
    if scheme in _PORTS and _origin(parts) == _origin(server):
        return
    if scheme in _BUCKETS and (parts.hostname or "").endswith(_HOSTS.get(scheme, "")):
        return
    place = f"{scheme}://{parts.netloc.rpartition('@')[2]}"
    raise LocationError(f"{uri:.200} lies at {place:.200}, which is not this tracking server's: nothing is sent there")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme.lower(), parts.hostname, parts.port or _PORTS.get(parts.scheme.lower())
