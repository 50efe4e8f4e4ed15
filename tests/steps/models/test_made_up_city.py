"""Models of the made-up city beside those of real trips: names, cards, and a gate that never mistakes them."""

from dataclasses import replace

import pytest

from provenance.pipeline.graph import Graph
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.digest import list_file
from provenance.record.lineage import Input, Output
from provenance.record.writer import set_tags
from provenance.registry import aliases
from steps.models import registered
from steps.models.judged_on import city_of, judged_on_by, model_name_for, model_name_of
from steps.models.registered import ModelUriError
from steps.pipeline import PIPELINE, REGISTER
from taxi.city.sample import spec_digest, write_month
from tests.support.project import SMALL, Result, Workplace, workplace
from tests.support.records import RECORD, A, B, recorded

REAL_NAME, SAMPLE_NAME = "nyc-taxi-duration", "nyc-taxi-duration-sample"
MONTHS = ("2023-01", "2023-02", "2023-03")


@pytest.fixture
def session(client) -> Session:
    return Session(PIPELINE, client, client.create_run("0"), quiet=True)


def finished(
    session: Session, step: str, inputs: tuple, output: str, content: str = A, recipe: dict | None = None
) -> Output:
    """What a run of `step` left that finished, as such a run records itself."""
    client = session.client
    run_id = client.create_run("1").info.run_id
    made = Output.of(output, f"runs:/{run_id}/{output}", list_file("file", 1, content))
    lineage = replace(
        RECORD, step=step, params={"taxi": "green"}, inputs=inputs, outputs=(made,), key_inputs=recipe or {}
    )
    client.log_text(run_id, lineage.to_json(), names.LINEAGE_FILE)
    set_tags(client, run_id, lineage.tags() | {names.OUTPUTS: lineage.outputs_digest()})
    client.set_terminated(run_id)
    return made


def dataset(session: Session, source: str, content: str = A) -> Input:
    """What a run of preprocess left that read its months from `source`."""
    months = tuple(Input(month, source, A) for month in MONTHS)
    recipe = {month: spec_digest("green", month, 600) for month in MONTHS} if source.startswith("sample") else {}
    made = finished(session, "preprocess", months, "dataset", content, recipe)
    return Input("dataset", made.uri, made.digest)


def search_on(session: Session, source: str) -> str:
    """The id of a search on that dataset."""
    return finished(session, "hpo", (dataset(session, source),), "search").uri.split("/")[1]


CITIES = {
    "sample": "made up, of another version",  # 20,000 rows: not of this recipe
    "sample:600": "made up, city 1",
    "tlc": "New York",
    "/data/tlc": "New York",
    "s3://bucket/months": "New York",
    "sample:many": "unknown",
}


@pytest.mark.parametrize("source", CITIES)
def test_the_city_of_a_dataset_is_what_the_run_recorded_that_made_it(session, source):
    """Not what the options of a later step say."""
    assert city_of(session, dataset(session, source)) == CITIES[source]


def test_a_dataset_that_was_given_as_a_folder_is_known_by_its_digest(session):
    """The same content was made by a run of this store, or by nobody known."""
    made = dataset(session, "sample:600", B)
    assert city_of(session, replace(made, uri="/home/ada/dataset")) == "made up, city 1"
    assert city_of(session, Input("dataset", "/home/ada/dataset", "c" * 64)) == "unknown"


def test_a_run_that_did_not_make_the_dataset_says_nothing_of_it(session):
    """A record that names another digest is of another dataset; a run that is not there is nobody."""
    real = dataset(session, "tlc")
    assert city_of(session, replace(real, digest="c" * 64)) == "unknown"
    assert city_of(session, Input("dataset", f"runs:/{'0' * 32}/dataset", A)) == "unknown"


def test_a_search_that_is_named_decides_the_name_and_not_the_source_option(session, monkeypatch):
    """`-e register -P search=<id>` says nothing of the source, whose default is the sample."""
    monkeypatch.setattr("provenance.pipeline.graph.problems", lambda output: [])  # records alone, no files
    for source, name in (("tlc", REAL_NAME), ("sample:600", SAMPLE_NAME)):
        search = search_on(session, source)
        for option in ("sample", "tlc"):
            params = {
                "search": search,
                "model_name": "auto",
                "source": option,
                "top_n": 1,
                "select": "val",
                "refit": "train",
            }
            lineage = Graph(session, params).lineage(REGISTER, lambda step: pytest.fail(step))
            assert lineage.params["model_name"] == name
        given = Graph(session, params | {"model_name": "mine"}).lineage(REGISTER, lambda step: pytest.fail(step))
        assert given.params["model_name"] == "mine"


def test_the_name_goes_by_the_source_when_everything_is_made_here():
    """The sample's models have a name of their own."""
    names_of = {source: model_name_for(source) for source in ("sample", "sample:5", "tlc", "/data", "s3://x")}
    assert names_of == {"sample": SAMPLE_NAME, "sample:5": SAMPLE_NAME, "tlc": REAL_NAME, "/data": REAL_NAME,
                        "s3://x": REAL_NAME}  # fmt: skip
    assert (model_name_of("made up, city 7"), model_name_of("New York"), model_name_of("unknown")) == (
        SAMPLE_NAME, REAL_NAME, REAL_NAME
    )  # fmt: skip


def test_a_version_without_the_tags_is_traced_to_the_months_of_its_run(session):
    """Versions that were registered before there were such tags."""
    client = session.client
    client.create_registered_model(REAL_NAME)
    for source, city in (("sample:600", "made up, city 1"), ("tlc", "New York")):
        search = Input("search", f"runs:/{search_on(session, source)}/search", A)
        made = finished(session, "register", (search,), "version").uri.split("/")[1]
        version = client.create_model_version(REAL_NAME, "s3://bucket/model", tags={"run_id": made})
        assert judged_on_by(session, version).city == city
    for tags in ({}, {"run_id": "0" * 32}, {"run_id": session.run.info.run_id}, {"run_id": "../x"}):
        version = client.create_model_version(REAL_NAME, "s3://bucket/model", tags=tags)
        assert judged_on_by(session, version).city == "unknown"


def test_auto_is_the_champion_of_real_trips_or_else_the_samples(session, capsys):
    """And it is said which; predict, drift and rollback use it."""
    talkative = replace(session, quiet=False)
    assert aliases.model_name(talkative, "mine") == "mine"
    with pytest.raises(ModelUriError, match="'models:/nyc-taxi-duration@champion'"):
        registered.registered(session, "auto")
    for name in (SAMPLE_NAME, REAL_NAME):
        session.client.create_registered_model(name)
        session.client.create_model_version(name, "s3://bucket/model")
        session.client.set_registered_model_alias(name, names.CHAMPION, "1")
        assert aliases.model_name(talkative, "auto") == name
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [f"model {SAMPLE_NAME}, of the sample's made-up city", f"model {REAL_NAME}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, migrated_store) -> Workplace:
    return workplace(tmp_path_factory.mktemp("cities"), migrated_store)


def aliases_of(place: Workplace, name: str) -> dict:
    return {alias: str(number) for alias, number in place.client.get_registered_model(name).aliases.items()}


def went_well(result: Result) -> Result:
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.slow
def test_toy_real_toy_real_nothing_runs_again_and_no_alias_moves(place, tmp_path):
    """`main` on the sample, on months in a folder, and both again; then both under one name."""
    for month in MONTHS:
        write_month(tmp_path / f"green_tripdata_{month}.parquet", "green", month, 2500)
    toy, real = SMALL, {**SMALL, "source": tmp_path}
    assert f"{SAMPLE_NAME} version 1 (candidate, champion)" in went_well(place.run(**toy)).stdout
    assert f"{REAL_NAME} version 1 (candidate, champion)" in went_well(place.run(**real)).stdout
    for params, name in ((toy, SAMPLE_NAME), (real, REAL_NAME)):
        again = went_well(place.run(**params))
        assert again.stderr.count(": reused run ") == 4
        assert f"{name} version 1 (candidate, champion)" in again.stdout
    both = {"candidate": "1", "champion": "1"}
    assert aliases_of(place, SAMPLE_NAME) == aliases_of(place, REAL_NAME) == both
    for name, made_up in ((SAMPLE_NAME, True), (REAL_NAME, False)):
        version = place.client.get_model_version(name, "1")
        assert version.description.startswith("**The city is made up**") is made_up
        page = place.client.get_run(version.tags["run_id"]).data.tags[names.NOTE]
        assert ("**The city is made up**" in page) is made_up
        assert ("made up" in place.client.get_registered_model(name).description) is made_up

    # What a user asks for by name: the sample's search under the real name, which the gate compares with nothing.
    [search] = [run.info.run_id for run in place.client.search_runs(["0"], f"tags.`{names.STEP}` = 'hpo'")
                if is_toy(place, run)]  # fmt: skip
    asked = went_well(place.run("register", search=search, model_name=REAL_NAME))
    assert "not promoted: champion version 1 is of real trips, this model of the made-up city" in asked.stderr
    assert aliases_of(place, REAL_NAME) == {"candidate": "2", "champion": "1"}
    # And the other way round: what everybody has who ran the sample before it had a name of its own.
    first = went_well(place.run("register", search=search, model_name="old"))
    assert "promoted: there was no champion yet" in first.stderr
    then = went_well(place.run("register", **real, model_name="old"))
    assert "promoted: champion version 1 was of the made-up city, and this is the first of real trips" in then.stderr
    # By its id alone a search is known to be of the sample.
    assert f"{SAMPLE_NAME} version 1 " in went_well(place.run("register", search=search, source="tlc")).stdout


def is_toy(place: Workplace, run) -> bool:
    made_by = recorded(place.client, run.info.run_id).inputs[0].uri.split("/")[1]
    return recorded(place.client, made_by).placement["source"].startswith("sample")
