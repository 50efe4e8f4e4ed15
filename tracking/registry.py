"""The model registry: versions, aliases, and the history of who was champion, all of it in the registry itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tracking import alive, names
from tracking.aliases import holder
from tracking.artifacts import unaltered
from tracking.digest import digest_json
from tracking.lineage import Output
from tracking.session import Session

WHY_LENGTH = 500  # characters of a reason in the history; the version's own tag has all of it
TAG_LENGTH = 5000  # characters MLflow keeps of a version's tag
DESCRIPTION = (
    "How long a New York taxi trip takes, in minutes, from its raw TLC record. `@champion` is the version to use; each "
    "version's own description is its model card, and says what must be known of the trip. Tags hold the history of "
    "champions."
)


class RegistryError(ValueError):
    """A registered model that cannot do what is asked of it."""


@dataclass(frozen=True)
class Promotion:
    """One move of the champion alias, `number` 1 the first. `over` is who held it before; None for nobody."""

    number: int
    version: str
    over: str | None
    at: str  # ISO 8601, UTC
    by: str
    run_id: str
    why: str
    rollback: bool = False

    def line(self) -> str:
        verb = "back to version" if self.rollback else "version"
        over = f"over version {self.over}" if self.over else "the first"
        return f"{self.at}  {verb} {self.version}, {over}, by {self.by}: {self.why}"


def champion_of(client: MlflowClient, model_name: str) -> str | None:
    """Number of the version that is champion, if any."""
    held = holder(client, model_name, names.CHAMPION)
    return str(held.version) if held else None


def register(client: MlflowClient, model_name: str, model: Output, tags: Mapping[str, str]) -> ModelVersion:
    """A new version of `model_name`, loaded back from the registry before anybody may get an alias on it.

    Loading runs the code that came with the model: only bytes that are still those `model` was recorded with.
    """
    with unaltered(model):
        version = mlflow.register_model(model.uri, model_name, tags=dict(tags))
    if not client.get_registered_model(model_name).description:  # a person's own words stay
        client.update_registered_model(model_name, DESCRIPTION)
    with unaltered(replace(model, uri=f"models:/{model_name}/{version.version}")) as folder:
        mlflow.pyfunc.load_model(str(folder))
    return client.get_model_version(model_name, str(version.version))


@contextlib.contextmanager
def turn(session: Session, model_name: str) -> Iterator[None]:
    """While open, no other run of this tracking store moves the champion of `model_name`.

    MLflow sets an alias without asking who holds it: of two runs that both beat the champion, the slower and perhaps
    worse one would win. Here it meets the faster one as champion instead.
    """
    client, run_id = session.client, session.run.info.run_id
    key, tags = digest_json(model_name), (names.GATE, names.GATE_TICKET)
    try:
        alive.wait_for_turn(client, session.experiments, run_id, key, session.say, tags=tags, what="is at the gate")
        yield
    finally:
        with contextlib.suppress(MlflowException):  # it never came so far as to stand in the queue
            client.delete_tag(run_id, names.GATE)


def promote(session: Session, model_name: str, version: str, why: str, rollback: bool = False) -> None:
    """Make `version` the champion, to be called within `turn`, and write it into the history.

    The history comes first: whoever is killed in between leaves a line too many, which says of no one that he was
    champion unless the alias says so, too; `previous` goes by the alias.
    """
    client, run = session.client, session.run
    over = champion_of(client, model_name)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    number = 1 + max((entry.number for entry in history(client, model_name)), default=0)
    user = run.data.tags.get(names.USER, "unknown")
    entry = Promotion(number, version, over, at, user, run.info.run_id, why[:WHY_LENGTH], rollback)
    key = f"{names.PROMOTION}{number:04}.version-{version}"
    client.set_registered_model_tag(model_name, key, json.dumps(asdict(entry), sort_keys=True))
    client.set_registered_model_alias(model_name, names.CHAMPION, version)
    tag_version(client, model_name, version, {names.PROMOTED_AT: at, names.PROMOTED_OVER: over or "none"})
    for name in (names.DEMOTED_AT, names.DEMOTED_BY):
        if name in client.get_model_version(model_name, version).tags:
            client.delete_model_version_tag(model_name, version, name)
    if over and over != version:
        with contextlib.suppress(MlflowException):  # deleted meanwhile
            tag_version(client, model_name, over, {names.DEMOTED_AT: at, names.DEMOTED_BY: version})
    held = champion_of(client, model_name)
    if held != version:
        session.say(f"somebody else, not through this project, made version {held} of {model_name} champion meanwhile")


def tag_version(client: MlflowClient, model_name: str, version: str, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        client.set_model_version_tag(model_name, version, name, value[:TAG_LENGTH])


def history(client: MlflowClient, model_name: str) -> list[Promotion]:
    """Every promotion, the first first. Raises RegistryError when there is no such model."""
    try:
        tags = client.get_registered_model(model_name).tags
    except MlflowException as error:
        raise RegistryError(
            f"no registered model {model_name!r:.100}: {error.message}\n Give -P model_name=."
        ) from None
    found = []
    for name, text in tags.items():
        if name.startswith(names.PROMOTION):
            with contextlib.suppress(ValueError, TypeError):  # somebody's own tag
                found.append(Promotion(**json.loads(text)))
    return sorted(found, key=lambda entry: entry.number)


def previous(client: MlflowClient, model_name: str) -> str:
    """The version that was champion before the present one, as far as it still exists. Raises RegistryError.

    Of the present one's own promotion that is whom it took the place of; so a second rollback goes further back, not
    forth again.
    """
    promotions = history(client, model_name)
    holds = champion_of(client, model_name)
    over = {entry.version: entry.over for entry in promotions if not entry.rollback}
    last = promotions[-1].version if promotions else None
    before = over.get(holds, last)  # the last one known of when the present one was set by hand, or is nobody
    passed = {holds}
    while before is not None and (before in passed or not _exists(client, model_name, before)):
        passed.add(before)
        before = over.get(before) if over.get(before) not in passed else None
    if before is None:
        who = f"version {holds} is the first champion" if holds else "no version was ever champion"
        raise RegistryError(f"{model_name}: {who}, there is none to go back to\n Set the alias by hand if you must.")
    return before


def _exists(client: MlflowClient, model_name: str, version: str) -> bool:
    try:
        return client.get_model_version(model_name, version).status == "READY"
    except MlflowException:
        return False
