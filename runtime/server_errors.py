"""Recognize errors of a server, which does not answer or refuses a request, even if MLflow wraps them."""

from __future__ import annotations

import os
from http import HTTPStatus
from urllib.parse import urlsplit

import requests

from runtime.machine_errors import exception_chain

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # a variable of MLflow; the default of 7 takes four minutes for each call
_SILENT = (requests.ConnectionError, requests.Timeout)
_BROKEN_OFF = (
    requests.exceptions.ChunkedEncodingError
)  # MLflow retries a request without answer, but not after half an answer
_REUSED = "what is finished is reused."


def server_error(error: BaseException) -> str | None:
    """The message for an error of a server: which server, what happened, and the remedy. None for any other error."""
    for cause in exception_chain(error):
        if isinstance(cause, _BROKEN_OFF):  # this error does not contain the request
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
    """Whether `error` comes from a server that does not answer or fails. Then its content may still be in order."""
    for cause in exception_chain(error):
        if isinstance(cause, (*_SILENT, _BROKEN_OFF, requests.exceptions.RetryError)):
            return True
        if isinstance(cause, requests.HTTPError) and cause.response is not None and cause.response.status_code >= 500:
            return True
    return False


def answer_cut_off(error: BaseException) -> bool:
    """Whether an answer ended before it was complete. Another request may get all of it."""
    return any(isinstance(cause, _BROKEN_OFF) for cause in exception_chain(error))


def stop_retrying(error: BaseException | None) -> None:
    """If `error` says that the server does not answer, turn off MLflow's long retries for the remaining calls."""
    if any(isinstance(cause, _SILENT) for cause in exception_chain(error)):
        os.environ[_RETRIES] = "1"


def _advice(code: int) -> str:
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "Ask its owner for the right to write there, and run again."
    if code == HTTPStatus.INSUFFICIENT_STORAGE:
        return f"When it has room again, run again: {_REUSED}"
    return f"Its log says why. Run again when it is well: {_REUSED}"
