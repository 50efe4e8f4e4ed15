"""What a server did: it does not answer, or it refuses what it should keep; known however MLflow wraps it."""

from __future__ import annotations

import os
from http import HTTPStatus
from urllib.parse import urlsplit

import requests

from runtime.machine_errors import exception_chain

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # MLflow's own: 7 by default, which is four minutes for each call
_SILENT = (requests.ConnectionError, requests.Timeout)
_BROKEN_OFF = requests.exceptions.ChunkedEncodingError  # MLflow asks again where no answer comes, not after half one
_REUSED = "what is finished is reused."


def server_error(error: BaseException) -> str | None:
    """Which server did what, and what helps, when that is behind `error`; None when it is something else."""
    for cause in exception_chain(error):
        if isinstance(cause, _BROKEN_OFF):  # which knows of no request
            return f"the server went away in the middle of an answer\n Run again when it answers: {_REUSED}"
        if not isinstance(cause, requests.RequestException) or not isinstance(cause.request, requests.PreparedRequest):
            continue
        parts = urlsplit(cause.request.url or "")
        server = f"the server {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if isinstance(cause, _SILENT):
            return f"{server} does not answer\n Run again when it does: {_REUSED}"
        if isinstance(cause, requests.exceptions.RetryError):
            return f"{server} fails again and again\n Its log says why. Run again when it is well: {_REUSED}"
        if cause.response is not None:
            code = cause.response.status_code
            said = f"{code} {HTTPStatus(code).phrase if code in list(HTTPStatus) else ''}".strip()
            return f"{server} refused {cause.request.method} {parts.path}: {said}\n {_advice(code)}"
    return None


def server_unavailable(error: BaseException) -> bool:
    """Whether a server that does not answer, or is not well, is behind `error`: what it holds may be as it was."""
    for cause in exception_chain(error):
        if isinstance(cause, (*_SILENT, _BROKEN_OFF, requests.exceptions.RetryError)):
            return True
        if isinstance(cause, requests.HTTPError) and cause.response is not None and cause.response.status_code >= 500:
            return True
    return False


def answer_cut_off(error: BaseException) -> bool:
    """Whether an answer ended in its middle: who asks again gets all of it, if the server is there."""
    return any(isinstance(cause, _BROKEN_OFF) for cause in exception_chain(error))


def stop_retrying(error: BaseException | None) -> None:
    """After a server that does not answer: what is still to be told it may take a second, not minutes for each call."""
    if any(isinstance(cause, _SILENT) for cause in exception_chain(error)):
        os.environ[_RETRIES] = "1"


def _advice(code: int) -> str:
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "Ask its owner for the right to write there, and run again."
    if code == HTTPStatus.INSUFFICIENT_STORAGE:
        return f"When it has room again, run again: {_REUSED}"
    return f"Its log says why. Run again when it is well: {_REUSED}"
