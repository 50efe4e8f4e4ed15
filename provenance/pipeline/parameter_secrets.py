"""Refuse a password or token in a parameter before a step writes it, and delete the run that already holds it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

# Names in a URL's query whose values give access: presigned URLs of S3, Google and Azure, tokens, keys.
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[?&;#,\s])[\w.-]{0,40}(?:token|secret|passw(?:or)?d|passphrase|pwd|signature|credential|api[_-]?key"
    r"|a(?:ccess|ccount)[_-]?key(?:id)?|private[_-]?key|authorization)[\w.-]{0,20}=[^&;#,\s]"
    r"|[?&;#](?:sig|key|auth|sas|code|pass|jwt)=[^&;#\s]"
)
_AUTHORITY = re.compile(r"([\w+.-]{0,20}:)?//([^/?#\s\"']*)([^\s\"']*)")
_SCP = re.compile(r"[^/@:\s{\[\"']+:[^/@\s][^@\s]*@[^/@:\s]+:")  # user:password@host:path
_HOW = (
    "Web servers: in ~/.netrc (machine HOST login USER password PASSWORD). Buckets: AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or ~/.aws; GOOGLE_APPLICATION_CREDENTIALS. git: its own credential helper."
)


class CredentialsInParameter(click.ClickException):
    """A parameter holds a password. MLflow would show it to everyone who can read the run."""

    exit_code = 2


class Option(click.Option):
    """An option that refuses a value with a password or token, before the value is used."""

    def type_cast_value(self, ctx: click.Context, value: object) -> object:
        if isinstance(value, str) and holds_credentials(value):
            raise CredentialsInParameter(_refusal(str(ctx.command.name), str(self.name), value))
        return super().type_cast_value(ctx, value)


def holds_credentials(text: str) -> bool:
    """Whether `text` contains a URL with a password, or a query with a token, key or signature."""
    return bool(
        any(_in_authority(*match.groups()) for match in _AUTHORITY.finditer(text))
        or _SCP.match(text)
        or _SECRET_NAME.search(text)
    )


def _in_authority(scheme: str | None, authority: str, rest: str) -> bool:
    """Whether the text after the // of a URL is user:password@host. The password may contain a slash.

    For ssh, a user without a password is only a name. For a web server it may be a token, and counts as a password.
    """
    user, at, _ = authority.rpartition("@")
    if at:
        return ":" in user or (scheme or "").lower() in ("http:", "https:")
    return "@" in rest and bool(re.search(r":(?!\d*$)", authority.partition("]")[2] or authority))


def _refusal(entry_point: str, name: str, value: str) -> str:
    lines = [f"parameter {name} holds a password, token or key, which would stand in the run's record for every reader",
             f" Take it out and change it. {_HOW}"]  # fmt: skip
    return "\n".join([*lines, *_deleted(entry_point, name, value)])


def _deleted(entry_point: str, name: str, value: str) -> list[str]:
    """Delete the run for which `mlflow run` has already logged the parameter.

    Returns lines that say what the user must still do.
    """
    if not os.environ.get("MLFLOW_RUN_ID"):
        return []
    import shlex

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from provenance.pipeline.forget import delete_once_launched
    from provenance.pipeline.invocation import invocation
    from provenance.pipeline.launched_run import launched
    from provenance.store.project_identity import project_of

    try:
        run = launched(entry_point)
    except (MlflowException, click.ClickException):
        return []  # the run was not made for this step
    logged = run.data.params.get(name) if run else None
    if run is None or logged is None or logged not in (value, shlex.quote(value), shlex.quote(value)[:6000]):
        return []
    run_id = run.info.run_id
    # Later, not now: `mlflow run` will still write the status of the run.
    delete_once_launched(MlflowClient(), run_id, project_of(run, Path.cwd()))
    remove = f"{invocation().program} gc --run-ids {run_id}"
    return [f" `mlflow run` has logged it in run {run_id}, which is deleted as soon as that ends. Look whether it is "
            f"gone; its row leaves the store's database with: {remove}"]  # fmt: skip
