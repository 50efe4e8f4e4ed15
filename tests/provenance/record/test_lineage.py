"""The record of a run and its key."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.record.digest import Listing, digest_json
from provenance.record.lineage import Input, Lineage, LineageError, Output, normalise
from tests.support.finished_runs import TRAIN


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0.10", "0.1"),
        ("1e-1", "0.1"),
        ("5.0", "5"),
        ("+7", "7"),
        (True, "true"),
        ('{"b": 1.0, "a": 2}', '{"a":2,"b":1}'),
    ],
)
def test_one_value_has_one_spelling(text, same):
    """Two spellings of one number or object must not be two keys."""
    assert normalise(text) == same


@pytest.mark.parametrize("text", ["2023-01", "0x10", "1_000", "nan", "{not json", "runs:/1/x", "$(id)"])
def test_what_is_no_number_stays_as_it_is(text):
    """Months, URIs and hostile text are no numbers."""
    assert normalise(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_normalising_keeps_the_value(number):
    """A normalised number is the same float, to the last bit."""
    assert float(normalise(repr(number))) == number


@pytest.mark.parametrize(
    "other",
    [
        {"step": "hpo"},
        {"params": {"model": "xgboost", "seed": "43"}},
        {"inputs": (Input("dataset", "runs:/1/dataset", "d2"),)},
        {"code_digest": "other"},
        {"environment_key": "other"},
        {"key_inputs": {"dataset": "recipe"}},
    ],
)
def test_the_key_changes_with_each_part_it_is_made_of(other):
    """A part that the key forgot would make the cache lie."""
    assert replace(TRAIN, **other).with_key().key != TRAIN.key


@pytest.mark.parametrize(
    "other",
    [
        {"placement": {"workers": "4"}},
        {"inputs": (Input("dataset", "runs:/2/dataset", TRAIN.inputs[0].digest),)},
        {"source": {"commit": "b" * 40, "dirty": True}},
        {"environment": {"cpu": "another"}},
    ],
)
def test_the_key_ignores_place_commit_and_machine(other):
    """Another checkout, commit message, machine or worker count is the same work."""
    assert replace(TRAIN, **other).with_key().key == TRAIN.key


def outputs() -> tuple[Output, ...]:
    files = {"a.txt": (3, "0" * 64)}
    digest = __import__("hashlib").sha256(f"{'0' * 64}  a.txt\n".encode()).hexdigest()
    return (Output.of("model", "models:/m-1", Listing(digest, files)),)


def test_a_record_survives_json():
    """What is read back equals what was written, outputs and their files included."""
    whole = replace(TRAIN, outputs=outputs())
    assert Lineage.from_json(whole.to_json()).outputs_digest() == whole.outputs_digest()
    assert Lineage.from_json(whole.to_json()).key == whole.key


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', "null"])
def test_a_record_that_is_none_is_refused(text):
    """Hostile or half-written JSON gives one clear error."""
    with pytest.raises(LineageError):
        Lineage.from_json(text)


OUTPUT = {"name": "x", "uri": "runs:/1/x", "digest": __import__("hashlib").sha256().hexdigest(), "files": {},
          "volatile": []}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"params": ["a"]},
        {"params": {"seed": 42}},
        {"placement": {"source": ["/months"]}},
        {"source": []},
        {"environment": "local"},
        {"step": ["train"]},
        {"step": "train\x1b[2J"},
        {"key": None},
        {"inputs": [{"role": "dataset\n", "uri": "runs:/1/dataset", "digest": "d"}]},
        {"inputs": [{"role": "dataset", "uri": "runs:/1/dataset", "digest": 7}]},
        {"inputs": [{"role": "dataset"}]},
        {"outputs": [{**OUTPUT, "name": "x\r"}]},
        {"outputs": [{**OUTPUT, "uri": "/etc/passwd"}]},
        {"outputs": [{**OUTPUT, "uri": "http://127.0.0.1/x"}]},
        {"outputs": [{**OUTPUT, "files": {"../x": [1, "0" * 64]}}]},
        {"more": 1},
    ],
)
def test_a_record_of_another_form_is_refused_in_printable_words(changed):
    """Types and places are checked once, so that nobody behind has to."""
    record = json.loads(TRAIN.to_json())
    Lineage.from_json(json.dumps({**record, "outputs": [OUTPUT]}))
    with pytest.raises(LineageError, match="It was altered: do not use the run") as error:
        Lineage.from_json(json.dumps({**record, **changed}))
    assert all(line.isprintable() for line in str(error.value).splitlines())


@pytest.mark.parametrize("text", ["[" * 100_000, b"\xff", '{"schema": 1, "inputs": NaN}'])
def test_what_json_chokes_on_is_refused(text):
    """Too deep, not UTF-8, no JSON."""
    with pytest.raises(LineageError):
        Lineage.from_json(text)


def test_a_listing_that_was_altered_is_refused():
    """The digest of an output must be that of its files."""
    text = replace(TRAIN, outputs=outputs()).to_json().replace('"0' + "0" * 63, '"1' + "0" * 63)
    with pytest.raises(LineageError):
        Lineage.from_json(text)


def test_the_description_is_one_table_whatever_the_values():
    """A pipe or newline in a parameter must not break the table."""
    hostile = replace(TRAIN, params={"model_name": "a|b\nc"})
    lines = hostile.description().splitlines()
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines[2:])


def test_digest_of_params_does_not_depend_on_their_order():
    """Mappings are unordered."""
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
