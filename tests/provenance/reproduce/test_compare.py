"""What two runs differ in: ten pairs that differ in one known thing, and what follows from it is not blamed."""

from dataclasses import replace

import pytest

from provenance.record.lineage import Input, Output
from provenance.reproduce.ablation import factors
from provenance.reproduce.compare import NotComparable, compare
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import Made, Verdict, judge
from steps.compare import effect, told
from tests.support.records import METRICS, RECORD, A, B, environment

DATASET, TRAIN = "1" * 32, "2" * 32
PREPROCESS = replace(
    RECORD,
    step="preprocess",
    params={"features": "full", "taxi": "green", "test_months": "none", "train_months": "2023-01",
            "val_months": "2023-02"},
    placement={"source": "/months"},
    inputs=(Input("2023-01", "/months", A), Input("2023-02", "/months", B)),
    code={"steps/preprocess.py": A},
    outputs=(Output("dataset", f"runs:/{DATASET}/dataset", A),),
)  # fmt: skip


def chain(preprocess: dict | None = None, train: dict | None = None, both: dict | None = None,
          damage: tuple[str, ...] = ()) -> list[RecordedRun]:  # fmt: skip
    """A preprocess and a train run; when anything changed, so did the dataset's digest and the metrics."""
    changed = preprocess or both
    first = replace(PREPROCESS, **{**(preprocess or {}), **(both or {})})
    second = replace(RECORD, **{**(train or {}), **(both or {})})
    if changed:
        second = replace(second, inputs=(Input("dataset", second.inputs[0].uri, "d" * 64),))
    metrics = METRICS if not (changed or train) else {**METRICS, "val_rmse": 5.75}
    return [
        RecordedRun(Made(DATASET, first, {}), {}, damage=damage),
        RecordedRun(Made(TRAIN, second, metrics), {}, upstream={"dataset": (DATASET, "dataset")}),
    ]


PAIRS = {
    "a raw month": (
        chain(preprocess={"inputs": (Input("2023-01", "/months", "e" * 64), Input("2023-02", "/months", B))}),
        "data: raw month 2023-01 sha256 aaaaaaaaaaaa -> eeeeeeeeeeee (preprocess)",
    ),
    "the months asked for": (
        chain(preprocess={"params": {**PREPROCESS.params, "train_months": "2023-03"},
                          "inputs": (Input("2023-03", "/months", "e" * 64), Input("2023-02", "/months", B))}),
        "parameters: train_months 2023-01 -> 2023-03 (preprocess)",
    ),
    "the taxi": (
        chain(preprocess={"params": {**PREPROCESS.params, "taxi": "yellow"},
                          "inputs": (Input("2023-01", "/months", "e" * 64), Input("2023-02", "/months", "f" * 64))}),
        "parameters: taxi green -> yellow (preprocess)",
    ),
    "the dataset artifact": (
        chain(damage=("recorded output dataset: train/2023-01.parquet altered (changed after the run)",)),
        "data: b: recorded output dataset: train/2023-01.parquet altered (changed after the run) (preprocess)",
    ),
    "a line of a step": (
        chain(train={"code": {**RECORD.code, "steps/train.py": "e" * 64}}),
        "code: steps/train.py (train)",
    ),
    "the seed": (chain(train={"params": {**RECORD.params, "seed": "43"}}), "parameters: seed 42 -> 43 (train)"),
    "a package": (
        chain(both={"environment": environment(packages={"numpy": "2.4.5", "click": "8.1.0", "xgboost": "3.2.0"},
                                               differences=[["numpy", "2.4.6", "2.4.5"]])}),
        "packages: installed: numpy 2.4.6 -> 2.4.5 (preprocess, train)",
    ),
    "Python": (
        chain(both={"environment": environment(python="3.11.8")}),
        "python: python 3.11.7 -> 3.11.8 (preprocess, train)",
    ),
    "the CPU": (chain(both={"environment": environment(cpu="Z")}), "cpu: cpu A CPU -> Z (preprocess, train)"),
    "a thread variable": (
        chain(both={"environment": environment(threads={"OMP_NUM_THREADS": "1"})}),
        "threads: variable: OMP_NUM_THREADS absent -> 1 (preprocess, train)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("difference", PAIRS)
def test_the_one_difference_is_named_first_and_alone(difference):
    """The dataset's other digest follows from it, and is no cause."""
    other, cause = PAIRS[difference]
    assert [str(found) for found in compare(chain(), other).found] == [cause]


def test_only_what_differs_is_told():
    """The cause, then the metric with its distance."""
    lines = told(compare(chain(), PAIRS["the seed"][0]))
    assert lines == ["1. parameters: seed 42 -> 43 (train)", "metric train.val_rmse  5.5 -> 5.75  (+0.25)"]


def test_nothing_differs():
    """One line, no table of equal things."""
    assert told(compare(chain(), chain())) == [
        "no difference in code, parameters, inputs, environment, machine, metrics and outputs"
    ]


def test_runs_of_other_steps_are_not_compared():
    """A dataset and a model have nothing to compare."""
    with pytest.raises(NotComparable, match="Give two runs of one entry point"):
        compare(chain(), chain()[:1])


def test_what_can_be_tried_is_told_from_what_cannot():
    """A parameter can be taken from b; another CPU cannot."""
    b = chain(train={"params": {**RECORD.params, "seed": "43"}}, both={"environment": environment(cpu="Z")})
    wanted, untried = factors(compare(chain(), b), b)
    assert [(factor.name, factor.changes) for factor in wanted] == [("seed 42 -> 43", {"seed": "43"})]
    assert [str(found.difference) for found in untried] == ["cpu: cpu A CPU -> Z"]


def test_the_effect_of_a_factor_is_its_share_of_the_difference():
    """b is 0.25 minutes above a; with the factor, a moves by 0.125."""
    found = compare(chain(), PAIRS["the seed"][0])
    a = chain()[1].made
    moved = judge(a, Made("3" * 32, a.lineage, {**METRICS, "val_rmse": 5.625}))
    assert effect(Verdict((moved,)), found) == ("train.val_rmse 5.5 -> 5.625, moved by +0.125 (50% of the difference)")
