"""The model registry: versions, the champion alias and the history of promotions. All of it is kept in the registry."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_artifact, open_verified, output_record
from provenance.record.digest import DigestError, digest_json
from provenance.record.lineage import Output
from provenance.registry.aliases import holder
from provenance.registry.model_files import VOLATILE
from provenance.reproduce.model_loading import MODEL, without_places
from provenance.reuse import cache, heartbeat, single_flight, trust
from provenance.store.paging import every
from provenance.store.project_identity import is_ours

WHY_LENGTH = 500  # characters of a reason in the history; the tag of the version has the whole reason
TAG_LENGTH = 5000  # characters that MLflow keeps of a version's tag
UNDECIDED = "undecided"  # the decision on a version whose run has not ended
MOST_PROMOTIONS = 1_000_000
UNREADABLE = (ArtifactError, DigestError, MlflowException)
# The fields of MLmodel that describe the run that logged a model, and not the model.
OF_THE_RUN = ("run_id", "model_id", "model_uuid", "artifact_path", "utc_time_created", "model_size_bytes")


_VERSION = re.compile(r"[0-9]{1,9}")


class RegistryError(ValueError):
    """A registered model does not exist, or does not allow what was asked for."""


@dataclass(frozen=True)
class Promotion:
    """One move of the champion alias. `number` counts from 1; `over` is the version that held the alias before."""

    number: int
    version: str
    over: str | None
    at: str  # ISO 8601, UTC
    by: str
    run_id: str
    why: str
    rollback: bool = False

    @property
    def tag(self) -> str:
        """The name of the registered model's tag that stores this promotion."""
        return f"{names.PROMOTION}{self.number:04}.version-{self.version}"

    @classmethod
    def read(cls, tag: str, text: str) -> Promotion | None:
        """The promotion in the tag `tag`; None if the text is not a valid promotion."""
        try:
            entry = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        words = (entry.version, entry.at, entry.by, entry.run_id, entry.why)
        sound = (
            all(isinstance(word, str) for word in words)
            and (entry.over is None or isinstance(entry.over, str))
            and all(_VERSION.fullmatch(number) for number in (entry.version, entry.over or "1"))
            and type(entry.number) is int
            and 0 < entry.number < MOST_PROMOTIONS
            and isinstance(entry.rollback, bool)
            and entry.tag == tag
        )
        return entry if sound else None

    def line(self) -> str:
        """One line of the history."""
        verb = "back to version" if self.rollback else "version"
        over = f"over version {self.over}" if self.over else "the first"
        text = f"{self.at}  {verb} {self.version}, {over}, by {self.by}: {self.why}"
        return text if text.isprintable() else ascii(text)[1:-1]


def champion_of(client: MlflowClient, model_name: str) -> str | None:
    """The number of the champion version; None if there is none."""
    held = holder(client, model_name, names.CHAMPION)
    return str(held.version) if held else None


def register(client: MlflowClient, model_name: str, model: Output, tags: Mapping[str, str],
             description: str) -> ModelVersion:  # fmt: skip
    """Register a new version of a model. The version is read back, and deleted if its files differ from the record.

    Parameters
    ----------
    client : MlflowClient
        Client of the registry.
    model_name : str
        Name of the registered model. It is created if it does not exist.
    model : Output
        The recorded logged model.
    tags : mapping of str to str
        Tags of the version.
    description : str
        Description of the registered model. It is not used if the model already has one.

    Returns
    -------
    ModelVersion
        The new version.

    Raises
    ------
    ArtifactError
        If the logged model, or the version that was read back, differs from the record.
    MlflowException
        If the registry refuses the version.
    """
    with open_verified(model):
        version = mlflow.register_model(model.uri, model_name, tags=dict(tags))
    if not client.get_registered_model(model_name).description:
        client.update_registered_model(model_name, description)
    try:
        with open_verified(replace(model, uri=_uri(version))):
            return client.get_model_version(model_name, str(version.version))
    except (ArtifactError, MlflowException):
        with contextlib.suppress(MlflowException):  # a user who may write a model may lack the right to delete versions
            client.delete_model_version(model_name, str(version.version))
        raise


def enter(session: Session, model_name: str, model: Output, tags: Mapping[str, str],
          description: str) -> tuple[ModelVersion, Output]:  # fmt: skip
    """Register a model, or complete a version that an earlier run of the same key left unfinished.

    A run can be killed after it registered a version. If the files of that version are those of `model`, the version is
    completed. Otherwise it is deleted, unless it holds an alias. Whoever signs completes none: its files that differ
    from run to run, such as MLmodel, may be a stranger's, and would be signed with it.

    Parameters
    ----------
    session : Session
        The session of the open run.
    model_name : str
        Name of the registered model.
    model : Output
        The recorded logged model.
    tags : mapping of str to str
        Tags of the version. They must contain the run's key.
    description : str
        Description of the registered model; see `register`.

    Returns
    -------
    tuple of ModelVersion and Output
        The version, and the record of its files.

    Raises
    ------
    ArtifactError
        If the logged model or the new version differs from the record.
    MlflowException
        If the registry refuses the version.
    """
    client, found = session.client, None
    own_alone = bool(session.signer) or session.only_signed
    for version in unfinished(client, model_name, tags[names.KEY], session.project):
        same = None if found or own_alone else _as_registered(version, model)
        if same:
            session.say(f"completing version {version.version} of {model_name}, whose run ended before it was done")
            tag_version(client, model_name, str(version.version), tags)
            found = client.get_model_version(model_name, str(version.version)), same
        elif not client.get_model_version(model_name, str(version.version)).aliases:
            session.say(f"deleting version {version.version} of {model_name}, whose run ended before it was done")
            _delete(session, version)
    return found or (register(client, model_name, model, tags, description), model)


def _delete(session: Session, version: ModelVersion) -> None:
    try:
        session.client.delete_model_version(version.name, str(version.version))
    except MlflowException as error:  # a user who may write a model may lack the right to delete versions
        session.say(f"version {version.version} of {version.name} stays: {error.message.splitlines()[0]}")


def unfinished(client: MlflowClient, model_name: str, key: str, project: str) -> list[ModelVersion]:
    """The versions whose run, of `project` and with this key, ended before it recorded them; the oldest first."""
    found = [version for version in versions(client, model_name) if version.tags.get(names.KEY) == key]
    unfinished = (version for version in found if _is_unfinished(client, version, project))
    return sorted(unfinished, key=lambda version: int(version.version))


def _is_unfinished(client: MlflowClient, version: ModelVersion, project: str) -> bool:
    try:
        run = client.get_run(version.tags.get(names.REGISTERED_BY, ""))
        if run.info.status == "RUNNING":
            if not heartbeat.is_dead(client, run, time.time()):
                return False
            run = client.get_run(run.info.run_id)  # its last act may have been to record the version
    except MlflowException:
        return False  # the run cannot be read
    return is_ours(run, project) and names.OUTPUTS not in run.data.tags


def versions(client: MlflowClient, model_name: str) -> list[ModelVersion]:
    """All versions of `model_name`; empty if there is no such model."""
    quote = '"' if "'" in model_name else "'"
    return list(every(client.search_model_versions, f"name = {quote}{model_name}{quote}"))


def why_champion(client: MlflowClient, model_name: str, version: str) -> str:
    """The reason for the last promotion of `version`, from the history."""
    whys = [entry.why for entry in history(client, model_name) if entry.version == version]
    return whys[-1] if whys else "the alias was set by hand"


def promoted_before(client: MlflowClient, one: ModelVersion) -> str | None:
    """The newest other version that has the same key and was champion; None if there is none."""
    key = one.tags.get(names.KEY)
    found = [
        str(version.version)
        for version in versions(client, one.name)
        if key and version.version != one.version and version.tags.get(names.KEY) == key
        and names.PROMOTED_AT in version.tags
    ]  # fmt: skip
    return max(found, key=int, default=None)


def _as_registered(version: ModelVersion, model: Output) -> Output | None:
    """The record of the files of `version` if they are those of `model`, else None.

    The fields of MLmodel that describe the run may differ.
    """
    try:
        with open_artifact(_uri(version)) as theirs, open_artifact(model.uri) as ours:
            found = output_record(theirs, model.name, _uri(version), VOLATILE)
            files = [{path: file for path, file in of.files.items() if path != MODEL} for of in (found, model)]
            same = files[0] == files[1] and _ml_model(theirs) == _ml_model(ours)
    except (*UNREADABLE, yaml.YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # a half-written model, or an altered one
    return found if same else None


def _ml_model(folder: Path) -> dict[str, object]:
    """The content of MLmodel without the fields that describe the run, and without locations."""
    said = yaml.safe_load((folder / MODEL).read_text(encoding="utf-8"))
    return {name: value for name, value in without_places(said).items() if name not in OF_THE_RUN}


def _uri(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"


def throwaway() -> bool:
    """Whether the registry is temporary: it belongs to a repetition and is deleted with it."""
    return os.environ.get(names.THROWAWAY_REGISTRY) == "true"


@contextlib.contextmanager
def turn(session: Session, model_name: str) -> Iterator[None]:
    """While it is open, no other run of this tracking store moves the champion of `model_name`.

    MLflow sets an alias without a check of its present holder. If two runs beat the champion at the same time, the
    slower one would replace the faster one, even if it is worse. With turns, the slower run is compared with the faster
    one.
    """
    client, run_id = session.client, session.run_id
    key, tags = digest_json(model_name), (names.GATE, names.GATE_TICKET)
    try:
        known = None
        # Repeat until no new experiment appears. An experiment that was made while this run waited can contain a run
        # with a lower ticket. A run in an experiment that is made later finds the ticket of this run.
        while known != (known := cache.experiments(client)):
            believed = trust.awaited(client, session.trust, session.open_run.info.experiment_id)
            single_flight.wait_for_turn(client, known, run_id, key, session.say, session.project, tags=tags,
                                what="is at the gate", believed=believed)  # fmt: skip
        yield
    finally:
        with contextlib.suppress(MlflowException):  # there is no tag if the run failed before it took a ticket
            for name in tags:
                client.delete_tag(run_id, name)


def promote(session: Session, model_name: str, version: str, why: str, rollback: bool = False) -> None:
    """Make a version the champion, and write it into the history. Call it inside `turn`.

    The history is written first. If the run is killed before it moves the alias, the history has an entry for a
    promotion that did not happen; `previous` ignores it, because it starts from the alias. If the run is killed after
    it moved the alias, the tags are missing; the next run that promotes the same version writes them.

    Parameters
    ----------
    session : Session
        The session of the open run.
    model_name : str
        Name of the registered model.
    version : str
        Number of the version.
    why : str
        The reason, for the history.
    rollback : bool, optional
        Whether this undoes an earlier promotion.

    Raises
    ------
    RegistryError
        If there is no such model.
    MlflowException
        If the registry refuses a change.
    """
    client, run = session.client, session.open_run
    over = champion_of(client, model_name)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    promotions = history(client, model_name)
    last = promotions[-1] if promotions else None
    if over == version and last and last.version == version:
        over, at = last.over, last.at
    else:
        user = run.data.tags.get(names.USER, "unknown")
        number = last.number + 1 if last else 1
        entry = Promotion(number, version, over, at, user, run.info.run_id, why[:WHY_LENGTH], rollback)
        client.set_registered_model_tag(model_name, entry.tag, json.dumps(asdict(entry), sort_keys=True))
        client.set_registered_model_alias(model_name, names.CHAMPION, version)
    tag_version(client, model_name, version, {names.PROMOTED_AT: at, names.PROMOTED_OVER: over or "none"})
    for name in (names.DEMOTED_AT, names.DEMOTED_BY):
        if name in client.get_model_version(model_name, version).tags:
            client.delete_model_version_tag(model_name, version, name)
    if over and over != version:
        with contextlib.suppress(MlflowException):  # the version was deleted meanwhile
            tag_version(client, model_name, over, {names.DEMOTED_AT: at, names.DEMOTED_BY: version})
    held = champion_of(client, model_name)
    if held != version:
        session.say(f"another program made version {held} of {model_name} champion meanwhile")


def tag_version(client: MlflowClient, model_name: str, version: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version. Long values are cut to TAG_LENGTH characters."""
    for name, value in tags.items():
        client.set_model_version_tag(model_name, version, name, value[:TAG_LENGTH])


def history(client: MlflowClient, model_name: str) -> list[Promotion]:
    """All promotions, the oldest first. Raises RegistryError if there is no such model."""
    try:
        tags = client.get_registered_model(model_name).tags
    except MlflowException as error:
        raise RegistryError(
            f"no registered model {model_name!r:.100}: {error.message}\n Give -P model_name=."
        ) from None
    found = (Promotion.read(name, text) for name, text in tags.items() if name.startswith(names.PROMOTION))
    return sorted(filter(None, found), key=lambda entry: entry.number)


def previous(client: MlflowClient, model_name: str) -> str:
    """The last existing version that was champion before the present one. Raises RegistryError if there is none.

    It is the version that the present champion replaced when it was promoted. Rollbacks are not counted as promotions,
    so a second rollback goes further back.
    """
    promotions = history(client, model_name)
    holds = champion_of(client, model_name)
    over = {entry.version: entry.over for entry in promotions if not entry.rollback}
    last = promotions[-1].version if promotions else None
    # If there is no champion or it was set by hand, take the last version in the history.
    before = over.get(holds, last) if holds else last
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
