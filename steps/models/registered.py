"""The model that a user names: which one it is, whether it is whole, its data, and the dataset it was made from."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError, open_verified, output_record
from provenance.record.lineage import Input, LineageError, Output
from provenance.record.validation import without_remedy
from provenance.registry import aliases
from provenance.registry.model_files import VOLATILE
from provenance.reuse.consistency import PREDICTOR, is_of
from provenance.reuse.heartbeat import SilenceWatch
from steps import names as trip_names
from taxi.models.predictor import Predictor

_MODEL_ID = re.compile(r"models:/(m-[0-9a-f]{32})/?")
_VERSION = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([\w-]+))/?")
RECORD_SECONDS = 300  # from a champion's promotion to the record of its run, on a busy machine
_STEPS_BACK = 8  # a trial, its search, a main: three; more is a tag that was altered


class ModelUriError(ValueError):
    """A URI that names no model of this project, or one that is no longer what was recorded."""


@dataclass(frozen=True)
class Registered:
    """A model pinned: `uri` holds a version or a model id, never an alias. run_id: the run that speaks for it.

    learned: the splits of its dataset that it was fitted to.
    """

    uri: str
    model_id: str
    digest: str
    run_id: str
    predictor: Predictor
    learned: tuple[str, ...] = ("train",)

    @property
    def input(self) -> Input:
        """The model as an input of a run's record."""
        return Input("model", self.uri, self.digest)


def registered(session: Session, given: str) -> Registered:
    """The model at ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or ``models:/<model id>``, or a champion.

    "auto" is the champion of real trips, or else the sample's.
    It is read from its data alone: none of the code that came with it runs. Raises ModelUriError.
    """
    if given == aliases.AUTO:
        given = f"models:/{aliases.model_name(session, given)}@{names.CHAMPION}"
    try:
        uri, model_id, by = _pinned(session.client, given)
        logged = session.client.get_logged_model(model_id)
    except MlflowException as error:
        raise ModelUriError(f"{given!r:.200}: {error.message}\n Give the URI of a model that register made.") from error
    learned = tuple(logged.tags.get(trip_names.REFIT, "train").split("+"))
    run_id, output = _recorded(session, uri, model_id, logged.source_run_id or "", by)
    with open_verified(output) as folder:
        digest = output_record(folder, names.MODEL, uri, VOLATILE).digest
        return Registered(uri, model_id, digest, run_id, Predictor.load(folder / PREDICTOR), learned)


def _pinned(client: MlflowClient, given: str) -> tuple[str, str, str | None]:
    """The URI without an alias, the model's id, and the run that registered it, says a tag."""
    if match := _MODEL_ID.fullmatch(given):
        return f"models:/{match[1]}", match[1], None
    match = _VERSION.fullmatch(given)
    if not match:
        raise ModelUriError(
            f"{given!r:.200} is no URI of a model\n"
            " Give models:/<name>@champion, models:/<name>/<version> or models:/<model id>."
        )
    name, number, alias = match.groups()
    version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    source = _MODEL_ID.fullmatch(version.source or "")
    if not source:
        raise ModelUriError(f"{given!r:.200} was not registered by this project\n Give a model that register made.")
    return f"models:/{name}/{version.version}", source[1], version.tags.get(names.REGISTERED_BY)


def _recorded(session: Session, uri: str, model_id: str, logged_by: str, by: str | None) -> tuple[str, Output]:
    """The run that speaks for the model and its record of it, with the digest of each file.

    That is the run that logged it, or the search that its trial is of; for a version that a killed run left, `by`, that
    completed it. Raises ModelUriError when none has a record: then the model may have been changed as well.
    """
    client, why = session.client, f"run {logged_by or 'none'} left no record of it"
    try:
        above = [run.info.run_id for run in _back(client, logged_by)]
        for run_id in [*above, *({by} - {None, *above})]:
            _wait_for_record(client, client.get_run(run_id))
            try:
                made = session.hit(run_id)
            except RunError as error:  # a trial, whose models are outputs of its search
                why = without_remedy(error)
                continue
            for output in made.lineage.outputs:
                is_it = output.uri == f"models:/{model_id}" or _made_of(client, output) == model_id
                if is_it and (run_id in above or is_of(client, model_id, made.run_id, made.lineage.key)):
                    return made.run_id, replace(output, uri=uri)
    except MlflowException as error:
        why = error.message.splitlines()[0]
    except (RunError, LineageError, ArtifactError) as error:
        why = without_remedy(error)
    raise ModelUriError(f"{uri} cannot be checked: {why}\n Register the model again.")


def _wait_for_record(client: MlflowClient, run: Run) -> None:
    """Wait for the record of a run: a version may become champion seconds before its run writes the record."""
    last, watch = time.monotonic() + RECORD_SECONDS, SilenceWatch(client)
    while run.info.status == "RUNNING" and run.data.tags.get(names.STEP) == "register" and time.monotonic() < last:
        if watch.is_dead(run):
            return
        time.sleep(0.5)
        run = client.get_run(run.info.run_id)


def _made_of(client: MlflowClient, output: Output) -> str | None:
    """The id of the logged model that a version among a run's outputs was made of; None for any other output."""
    version = _VERSION.fullmatch(output.uri)
    if not version:
        return None
    name, number, _ = version.groups()
    try:
        source = _MODEL_ID.fullmatch(client.get_model_version(name, number).source or "")
    except MlflowException:
        return None  # deleted meanwhile
    return source[1] if source else None


def dataset_of(session: Session, model: Registered) -> Input:
    """The dataset that the model was made from, as the records of the runs behind it have it. Raises RunError."""
    for run in _back(session.client, model.run_id):
        with contextlib.suppress(RunError):  # a trial, which its search speaks for; any other leads nowhere, too
            made = session.hit(run.info.run_id)
            read = {item.role: item for item in made.lineage.inputs}
            if names.SEARCH in read:
                search = session.named(read[names.SEARCH].uri, "hpo", names.SEARCH)
                if search and search.outputs[names.SEARCH].digest == read[names.SEARCH].digest:
                    read |= {item.role: item for item in search.lineage.inputs}
            speaks = names.TRIAL not in run.data.tags and (
                run.info.run_id == model.run_id
                or any(output.uri == f"models:/{model.model_id}" for output in made.lineage.outputs)
            )
            if speaks and names.DATASET in read:
                return read[names.DATASET]
    raise RunError(f"no run behind {model.uri} says from which dataset it was made\n Give a model that register made.")


def _back(client: MlflowClient, run_id: str) -> Iterator[Run]:
    """The run that logged a model, then the runs it belongs to: of a trial, its search."""
    for _ in range(_STEPS_BACK):
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            raise RunError(f"run {run_id or 'none'} cannot be read: {error.message}") from error
        yield run
        if names.PARENT not in run.data.tags:
            return
        run_id = run.data.tags[names.PARENT]
