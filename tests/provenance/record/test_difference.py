"""What differs between two records: one sentence for each kind, as a cause and as the reason why a step runs."""

import pytest

from provenance.record.difference import Category, Difference, DifferenceKind
from provenance.record.problem import Problem, ProblemKind

A, B = "a" * 64, "b" * 64
K = DifferenceKind
MISSING = Problem(ProblemKind.EXTRA, "x", output="dataset")
SENTENCES = {
    K.DAMAGE: (Difference(K.DAMAGE, "b", problem=MISSING),
               "data: b: recorded output dataset: x extra: not in the listing (changed after the run)"),
    K.EXTERNAL_INPUT: (Difference(K.EXTERNAL_INPUT, "2023-01", A, B, "raw month", ("/m", "/n")),
                       "data: raw month 2023-01 sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb (/m -> /n)"),
    K.INPUT: (Difference(K.INPUT, "dataset", A, None), "data: input dataset sha256 aaaaaaaaaaaa -> absent"),
    K.CODE: (Difference(K.CODE, "steps/train.py", A, B), "code: steps/train.py"),
    K.ENGINE: (Difference(K.ENGINE, "engine", "1", "2"), "code: version of the engine 1 -> 2"),
    K.PARAMETER: (Difference(K.PARAMETER, "seed", "42", "43"), "parameters: seed 42 -> 43"),
    K.LOCKED: (Difference(K.LOCKED, "numpy", "1", "2"), "packages: lock: numpy 1 -> 2"),
    K.LOCK_TEXT: (Difference(K.LOCK_TEXT, "requirements.lock", A, B),
                  "packages: lock: the same versions in another text, aaaaaaaaaaaa -> bbbbbbbbbbbb"),
    K.INSTALLED: (Difference(K.INSTALLED, "numpy", "1", "absent"), "packages: installed: numpy 1 -> absent"),
    K.PYTHON: (Difference(K.PYTHON, "python", "3.11.7", "3.12.0"), "python: python 3.11.7 -> 3.12.0"),
    K.PLATFORM: (Difference(K.PLATFORM, "platform", "A", "B"), "platform: platform A -> B"),
    K.CPU: (Difference(K.CPU, "cpu", "A", "B"), "cpu: cpu A -> B"),
    K.MACHINE: (Difference(K.MACHINE, "machine", "x86_64", "arm64"), "cpu: machine x86_64 -> arm64"),
    K.PLACEMENT: (Difference(K.PLACEMENT, "workers", "1", "2"), "threads: workers 1 -> 2"),
    K.VARIABLE: (Difference(K.VARIABLE, "OMP_NUM_THREADS", None, "1"),
                 "threads: variable: OMP_NUM_THREADS absent -> 1"),
    K.CORES: (Difference(K.CORES, "cores", "2", "4"), "threads: cores 2 -> 4"),
    K.MANAGER: (Difference(K.MANAGER, "manager", "uv", "conda"), "manager: manager uv -> conda"),
    K.BESIDE_THE_LOCK: (Difference(K.BESIDE_THE_LOCK, "pytest", "9", None),
                        "beside the lock: beside the lock: pytest 9 -> absent"),
    K.CODE_BESIDE_THE_KEY: (Difference(K.CODE_BESIDE_THE_KEY, "runtime/progress.py", None, "a"),
                            "code beside the key: runtime/progress.py (added)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DifferenceKind, ids=lambda kind: kind.name)
def test_each_kind_has_a_sentence(kind):
    """Its category and its text; the same in JSON, with the values beside it."""
    difference, sentence = SENTENCES[kind]
    assert difference.kind is kind
    assert str(difference) == sentence
    plain = difference.to_dict()
    assert sentence == f"{plain['kind']}: {plain['text']}"
    assert (plain["what"], plain["before"], plain["after"]) == (kind.label, difference.before, difference.after)


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        (Difference(K.INPUT, "2023-01", A, B), "input 2023-01 aaaaaaaaaaaa -> bbbbbbbbbbbb"),
        (Difference(K.CODE, "taxi/a.py", None, A), "code of taxi/a.py (added)"),
        (Difference(K.CODE, "taxi/a.py", A, None), "code of taxi/a.py (removed)"),
        (Difference(K.PARAMETER, "seed", "42", "43"), "seed 42 -> 43"),
    ],
)
def test_the_reason_why_a_step_runs_has_no_category(difference, reason):
    """`plan` lists them below the step."""
    assert difference.reason == reason


def test_a_value_from_a_server_cannot_leave_its_line():
    """Nor stand for another field: braces in it are braces."""
    assert str(Difference(K.PARAMETER, "{noun}", "4\n\x1b[2J", "{after}")) == "parameters: {noun} 4 [2J -> {after}"


def test_categories_are_ranked_as_they_are_listed():
    """Data first, what only lies beside the lock last."""
    assert sorted(Category, key=lambda category: category.rank) == [*Category]
    assert (Category.DATA.rank, Category.BESIDE_THE_LOCK.rank) == (0, 9)
