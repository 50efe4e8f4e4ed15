"""What is wrong with an artifact: one sentence for each kind, and what of it means that the artifact is gone."""

import pytest

from provenance.record.problem import Problem, ProblemKind

A, B = "a" * 64, "b" * 64
SENTENCES = {
    ProblemKind.MISSING: (Problem(ProblemKind.MISSING, "train/1.parquet"), "train/1.parquet missing"),
    ProblemKind.EXTRA: (Problem(ProblemKind.EXTRA, "x"), "x extra: not in the listing"),
    ProblemKind.TRUNCATED: (Problem(ProblemKind.TRUNCATED, "x", 5000, 4), "x truncated: 4 bytes of 5,000"),
    ProblemKind.GROWN: (Problem(ProblemKind.GROWN, "x", 5, 6), "x grown: 6 bytes of 5"),
    ProblemKind.RESIZED: (Problem(ProblemKind.RESIZED, "x", 5, 6), "x truncated or altered"),
    ProblemKind.ALTERED: (Problem(ProblemKind.ALTERED, "x", A, B),
                          "x altered: sha256 bbbbbbbbbbbb, recorded aaaaaaaaaaaa"),
    ProblemKind.REPLACED: (Problem(ProblemKind.REPLACED, recorded=A, input="dataset"),
                           "input dataset is not the one recorded: sha256 absent, recorded aaaaaaaaaaaa"),
    ProblemKind.UNAVAILABLE: (Problem(ProblemKind.UNAVAILABLE, detail="models:/m-1 is not there", output="model"),
                              "output model: models:/m-1 is not there"),
    ProblemKind.UNREADABLE: (Problem(ProblemKind.UNREADABLE, detail="link is\nno \x1b[2J file"),
                             "link is no [2J file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ProblemKind)
def test_each_kind_has_a_sentence(kind):
    """On one printable line, whatever a server put into it."""
    problem, sentence = SENTENCES[kind]
    assert problem.kind is kind
    assert str(problem) == problem.to_dict()["text"] == sentence


def test_the_sentence_says_whose_file_it_is():
    """Of an output of the run that is repeated, or of an input that another run made."""
    missing = Problem(ProblemKind.ALTERED, "rows {0}", A, B, output="dataset")
    assert missing.of_record() == (
        "recorded output dataset: rows {0} altered: sha256 bbbbbbbbbbbb, recorded aaaaaaaaaaaa (changed after the run)"
    )
    read = Problem(ProblemKind.MISSING, "rows", output="dataset", input="data")
    assert read.of_record() == "input data was changed after it was made: output dataset: rows missing"


def test_what_is_gone_is_told_from_what_was_changed():
    """A deleted artifact leaves a record that can still be judged; a changed one does not. Its name says nothing."""
    gone = {kind for kind in ProblemKind if Problem(kind, "is not there, does not exist", detail="not found").gone}
    assert gone == {ProblemKind.MISSING, ProblemKind.UNAVAILABLE}
