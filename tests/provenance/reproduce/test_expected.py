"""expected.json: what goes in comes out, and nothing in it changes from run to run."""

import pytest

from provenance.reproduce import expected
from provenance.reproduce.expected import ExpectedError
from provenance.reproduce.verdict import Grade, judge
from steps.pipeline import PIPELINE
from tests.support.records import A, made


def test_what_was_written_is_identical_when_read(tmp_path):
    """Metrics keep their last bit."""
    run = made(metrics={"val_rmse": 0.1 + 0.2}, placement={"source": "/here", "workers": "0"})
    expected.write(tmp_path, [run], PIPELINE)
    verdict = judge(expected.read(tmp_path)["train"], run, PIPELINE)
    assert verdict.grade is Grade.IDENTICAL
    assert verdict.differences == ()


def test_another_seed_is_blamed(tmp_path):
    """The file holds what is needed for blame."""
    expected.write(tmp_path, [made()], PIPELINE)
    other = made(metrics={}, params={**made().lineage.params, "seed": "43"})
    assert judge(expected.read(tmp_path)["train"], other, PIPELINE).explanations == ("parameters: seed 42 -> 43",)


def test_it_does_not_depend_on_ids_or_places(tmp_path):
    """Two runs of the same thing write the same file, wherever they ran."""
    first = expected.write(tmp_path, [made("1" * 32, placement={"source": "/a"})], PIPELINE).read_bytes()
    second = expected.write(tmp_path, [made("2" * 32, placement={"source": "/b"})], PIPELINE).read_bytes()
    assert first == second
    assert A.encode() in first


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "-e verify -P write=true"),
        ("{", "cannot be read"),
        ('{"schema": 0}', "of another version"),
        ('{"schema": 1, "steps": [{}]}', "cannot be read"),
    ],
)
def test_a_missing_or_broken_file_says_what_to_do(tmp_path, content, words):
    """One clear line each."""
    if content is not None:
        (tmp_path / "expected.json").write_text(content)
    with pytest.raises(ExpectedError, match=words):
        expected.read(tmp_path)
