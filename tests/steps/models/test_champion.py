"""How a champion was made, by the records of the runs behind it."""

from dataclasses import replace

import pytest

from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.lineage import Input
from steps.models import champion as module
from steps.models.champion import champion
from steps.models.registered import Registered
from steps.pipeline import PIPELINE
from taxi.evaluation.refresh_rule import Lengths
from tests.support.finished_runs import SEARCH, TRAIN, begin, finish, folder_of, searched
from tests.support.records import A, B, C, of_months

MONTHS = {"train_months": "2023-01,2023-02", "val_months": "2023-03", "test_months": "2023-04"}
READ = {"2023-01": A, "2023-02": B, "2023-03": C, "2023-04": A}
RECIPE = dict.fromkeys(READ, "e" * 64)  # of the sample's months, which the key has


@pytest.fixture
def held(client, monkeypatch):
    """A function that has a champion of these months, `others` in its record in place of them."""

    def promote(read: dict[str, str] = READ, others: dict[str, str] | None = None, folder: str = "") -> Session:
        inputs = tuple(Input(month, "/months", digest) for month, digest in read.items())
        lineage = of_months({**MONTHS, **(others or {})}, *inputs, key_inputs=RECIPE)
        made = begin(client)
        dataset = folder_of(client, made, names.DATASET, {"manifest.json": "{}"})
        finish(client, made, lineage.with_key(), dataset)
        search = searched(client, replace(SEARCH, inputs=(Input("dataset", dataset.uri, dataset.digest),)).with_key())
        output = Session(PIPELINE, client, None, quiet=True).hit(search).outputs[names.SEARCH]
        speaks = begin(client)
        register = replace(TRAIN, step="register", params={"refit": "train", "top_n": "5"})
        register = replace(register, inputs=(Input("search", output.uri, output.digest),))
        finish(client, speaks, register.with_key())
        client.create_registered_model("trips")
        client.create_model_version("trips", dataset.uri, made)
        client.set_registered_model_alias("trips", names.CHAMPION, "1")
        model = Registered("models:/trips/1", "m-" + "1" * 32, A, speaks, None)
        monkeypatch.setattr(module, "registered", lambda session, given: model)
        given = Input("dataset", folder or dataset.uri, dataset.digest)
        monkeypatch.setattr(module, "dataset_of", lambda session, model: given)
        return Session(PIPELINE, client, None, quiet=True)

    return promote


def test_it_is_known_by_the_months_it_read_and_the_parameters_of_its_steps(held):
    """Those of the last step first; months of the sample by their recipe."""
    session = held()
    found = champion(session, "trips", made_by_code=False)
    assert (found.version, found.made_of, found.lengths) == ("1", READ, Lengths(2, 1, 1))
    wanted = {**MONTHS, "taxi": "green", "features": "full", "model": "xgboost", "max_evals": "4", "top_n": "5"}
    assert wanted.items() <= found.params.items()
    assert champion(session, "trips", made_by_code=True).made_of == RECIPE


def test_there_may_be_none(held):
    """Of a model that nobody registered."""
    assert champion(held(), "other", made_by_code=False) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"folder": "/data/dataset"}, "its dataset was given as a folder"),
        ({"read": {"2023-01": A}}, "its record names other months than its parameters"),
        ({"others": {"val_months": "2023-01"}}, "2023-01 is both a train and a val month"),
        ({"others": {"taxi": "boat"}}, "there are no 'boat' taxis"),
    ],
)
def test_one_whose_months_are_not_known_is_one_clear_error(held, wrong, why):
    """A record that was altered, or a dataset that no run made."""
    with pytest.raises(RunError) as caught:
        champion(held(**wrong), "trips", made_by_code=False)
    assert why in str(caught.value) and str(caught.value).endswith("\n Run main, and refresh what it registers.")
