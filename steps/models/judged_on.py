"""The trips a version was judged on: real or of the made-up city, which were kept; whether two versions compare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from provenance.pipeline.session import RunError, Session
from provenance.record import names, run_tags
from provenance.record.artifacts import ArtifactError
from provenance.record.digest import digest_json
from provenance.record.lineage import Input, Lineage, LineageError
from provenance.reuse import cache
from steps import names as trip_names
from taxi.dataset.manifest import Manifest
from taxi.sources.locate import DataSourceError, sample_rows

DESCRIPTION = (
    "How long a New York taxi trip takes, in minutes, from its raw TLC record. `@champion` is the version to use; each "
    "version's own description is its model card, and says what must be known of the trip. Tags hold the history of "
    "champions."
)
SAMPLE_DESCRIPTION = (
    "**The city is made up**: this project generated its trips to be tried without data, and no taxi ever drove them. "
)
REAL = "New York"
MADE_UP = "made up"  # followed by which one
UNKNOWN = "unknown"
UNREADABLE = (RunError, LineageError, ArtifactError, MlflowException)
MOST_RUNS = 20  # that may have made the same dataset, looked at for their source


@dataclass(frozen=True)
class JudgedOn:
    """Test trips. `kept`: which of the raw ones. `digest`: of their raw months, whatever features are made of them.

    Where a version does not say one of them it is "".
    """

    city: str = UNKNOWN
    taxi: str = ""
    months: str = ""
    kept: str = ""
    digest: str = ""

    @property
    def made_up(self) -> bool:
        """Whether the trips are of the embedded sample."""
        return self.city.startswith(MADE_UP)

    def tags(self) -> dict[str, str]:
        """What is known, as tags of a model version."""
        found = {trip_names.CITY: self.city, trip_names.TAXI: self.taxi, trip_names.TEST_MONTHS: self.months,
                 trip_names.TRIPS_KEPT: self.kept, trip_names.TEST_DATA: self.digest}  # fmt: skip
        return {name: text for name, text in found.items() if text}


NOTHING_KNOWN = JudgedOn()


def judged_on(session: Session, dataset: Input, manifest: Manifest) -> JudgedOn:
    """The test trips of `dataset`."""
    from taxi.months.trips import DISTANCE_MILES, DURATION_MINUTES, KNOWN_ZONES

    months = manifest.months("test")
    raw = [(month, manifest.record["months"][month]["sha256"]) for month in months]
    bounds = f"{_span(DURATION_MINUTES)} minutes, zones {_span(KNOWN_ZONES)}, {_span(DISTANCE_MILES)} miles"
    kept = f"{bounds}, picked up in the month"
    digest = digest_json([manifest.taxi, raw, kept])
    return JudgedOn(city_of(session, dataset), manifest.taxi, ",".join(months), kept, digest)


def _span(bounds: tuple[int, int]) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def judged_on_by(session: Session, version: ModelVersion) -> JudgedOn:
    """What `version` says of its test trips; of one that is older than that, what its run leads to."""
    tags = version.tags
    city = tags.get(trip_names.CITY) or _city_behind(session, tags.get(names.REGISTERED_BY, ""))
    rest = (trip_names.TAXI, trip_names.TEST_MONTHS, trip_names.TRIPS_KEPT, trip_names.TEST_DATA)
    return JudgedOn(city, *(tags.get(name, "") for name in rest))


def _city_behind(session: Session, run_id: str) -> str:
    """The city of the trips behind a register run."""
    try:
        made = session.hit(run_id).lineage
        return city_of(session, dataset_behind(session, _input(made, names.SEARCH)))
    except UNREADABLE:
        return UNKNOWN


def dataset_behind(session: Session, search: Input) -> Input:
    """The dataset that a search, ``runs:/<id>/search``, was made on. Raises RunError."""
    run_id = search.uri.removeprefix("runs:/").split("/")[0]
    return _input(session.hit(run_id).lineage, names.DATASET)


def _input(lineage: Lineage, role: str) -> Input:
    for item in lineage.inputs:
        if item.role == role:
            return item
    raise RunError(f"the record of a run of {lineage.step:.40} names no {role}\n Give another run.")


def city_of(session: Session, dataset: Input) -> str:
    """REAL, MADE_UP and which one, or UNKNOWN, as the run recorded that made the dataset.

    One that was given as a folder is looked for by its digest.
    """
    made = re.match(r"runs:/([0-9a-f]{32})/", dataset.uri)
    records = _records(session, made[1]) if made else _same(session, dataset.digest)
    for lineage in records:
        if any(out.name == names.DATASET and out.digest == dataset.digest for out in lineage.outputs):
            return _city(lineage)
    return UNKNOWN


def _records(session: Session, run_id: str) -> list[Lineage]:
    try:
        return [session.hit(run_id).lineage]
    except UNREADABLE:
        return []


def _same(session: Session, digest: str) -> Iterator[Lineage]:
    for condition in run_tags.made(names.DATASET, digest):
        for run in islice(cache.finished(session.client, session.trusted_experiments, condition), MOST_RUNS):
            yield from _records(session, run.info.run_id)


def _city(lineage: Lineage) -> str:
    """Of a run of preprocess: each of its inputs is a month, whose URI is the source."""
    from taxi.city.sample import VERSION, spec_digest

    try:
        rows = {sample_rows(item.uri) for item in lineage.inputs}
    except DataSourceError:
        return UNKNOWN
    if rows == {None}:
        return REAL
    if len(rows) != 1:
        return UNKNOWN
    taxi, count = lineage.params.get("taxi", ""), rows.pop() or 0
    now = all(spec_digest(taxi, month, count) == digest for month, digest in lineage.key_inputs.items())
    return f"{MADE_UP}, {VERSION if now else 'of another version'}"


def not_comparable(one: JudgedOn, champion: JudgedOn, who: str) -> str | None:
    """Why a model judged on `one` is not compared with the champion, called `who`; None where it may be.

    Months may differ: the champion is judged again on the candidate's.
    """
    if one.digest and one.digest == champion.digest:
        return None
    elsewhere = "register this one under another model_name, or set the alias by hand"
    for of, name in ((one, "this model"), (champion, who)):
        if of.city == UNKNOWN:
            return f"no run says from which trips {name} was made, so they were not compared; {elsewhere}"
    if one.made_up != champion.made_up:
        cities = ["of the made-up city" if of.made_up else "of real trips" for of in (champion, one)]
        return f"{who} is {cities[0]}, this model {cities[1]}, so they were not compared; {elsewhere}"
    if one.city != champion.city:
        return f"{who} is of another made-up city, so they were not compared; {elsewhere}"
    if one.taxi and champion.taxi and one.taxi != champion.taxi:
        return other_taxi(who, champion.taxi, one.taxi)
    if one.kept and champion.kept and one.kept != champion.kept:
        return f"{who} was made for other trips ({champion.kept}), so they were not compared; {elsewhere}"
    return None


def other_taxi(who: str, theirs: str, ours: str) -> str:
    """Why two models of different taxis are not compared."""
    return f"{who} is for {theirs} taxis; register {ours} ones under another model_name"


def description(made_up: bool) -> str:
    """What a registered model is, for its page."""
    return SAMPLE_DESCRIPTION * made_up + DESCRIPTION


def model_name_of(city: str) -> str:
    """The name under which a model is registered unless the user gives one."""
    return trip_names.SAMPLE_MODEL_NAME if city.startswith(MADE_UP) else trip_names.MODEL_NAME


def model_name_for(source: str) -> str:
    """The same, before anything was made of `source`."""
    return trip_names.MODEL_NAME if sample_rows(source) is None else trip_names.SAMPLE_MODEL_NAME
