"""What two runs differ in: ten pairs that differ in one known thing, and what follows from it is not blamed."""

from dataclasses import replace

import pytest

from provenance.record.difference import DifferenceKind
from provenance.record.lineage import Input, Output
from provenance.record.problem import Problem, ProblemKind
from provenance.reproduce.ablation import Factor, factors
from provenance.reproduce.compare import NotComparable, compare
from provenance.reproduce.recorded_run import RecordedRun, external_of
from provenance.reproduce.report import comparison_lines, effect_line
from provenance.reproduce.verdict import Made, Verdict, judge
from steps.pipeline import PIPELINE
from tests.support.records import METRICS, RECORD, A, B, environment, of_months

DATASET, TRAIN = "1" * 32, "2" * 32
PREPROCESS = of_months(
    {},
    Input("2023-01", "/months", A),
    Input("2023-02", "/months", B),
    placement={"source": "/months"},
    code={"steps/preprocess.py": A},
    outputs=(Output("dataset", f"runs:/{DATASET}/dataset", A),),
)


def chain(preprocess: dict | None = None, train: dict | None = None, both: dict | None = None,
          damage: tuple[Problem, ...] = ()) -> list[RecordedRun]:  # fmt: skip
    """A preprocess and a train run; when anything changed, so did the dataset's digest and the metrics."""
    changed = preprocess or both
    first = replace(PREPROCESS, **{**(preprocess or {}), **(both or {})})
    second = replace(RECORD, **{**(train or {}), **(both or {})})
    if changed:
        second = replace(second, inputs=(Input("dataset", second.inputs[0].uri, "d" * 64),))
    metrics = METRICS if not (changed or train) else {**METRICS, "val_rmse": 5.75}
    return [
        RecordedRun(Made(DATASET, first, {}), {}, damage=damage, external=external_of(PIPELINE, first)),
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
        chain(damage=(Problem(ProblemKind.RESIZED, "train/2023-01.parquet", output="dataset"),)),
        "data: b: recorded output dataset: train/2023-01.parquet truncated or altered (changed after the run) "
        "(preprocess)",
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
    assert [str(found) for found in compare(chain(), other, PIPELINE).found] == [cause]


def test_only_what_differs_is_told():
    """The cause, then the metric with its distance."""
    lines = comparison_lines(compare(chain(), PAIRS["the seed"][0], PIPELINE))
    assert lines == ["1. parameters: seed 42 -> 43 (train)", "metric train.val_rmse  5.5 -> 5.75  (+0.25)"]


def test_nothing_differs():
    """One line, no table of equal things."""
    assert comparison_lines(compare(chain(), chain(), PIPELINE)) == [
        "no difference in code, parameters, inputs, environment, machine, metrics and outputs"
    ]


def test_runs_of_other_steps_are_not_compared():
    """A dataset and a model have nothing to compare."""
    with pytest.raises(NotComparable, match="Give two runs of one entry point"):
        compare(chain(), chain()[:1], PIPELINE)


def tried(b: list[RecordedRun]) -> tuple[list[Factor], list[DifferenceKind]]:
    wanted, untried = factors(compare(chain(), b, PIPELINE), b)
    return wanted, [found.difference.kind for found in untried]


FACTORS = {
    "a raw month": Factor("raw months", source=True),
    "a line of a step": Factor("code: steps/train.py", code=True),
    "the seed": Factor("seed 42 -> 43", changes={"seed": "43"}),
    "Python": Factor("packages as b has them locked", lock=True),
    "a thread variable": Factor("variable: OMP_NUM_THREADS absent -> 1", variables={"OMP_NUM_THREADS": "1"}),
}
UNTRIED = {"the dataset artifact": DifferenceKind.DAMAGE, "a package": DifferenceKind.INSTALLED,
           "the CPU": DifferenceKind.CPU}  # fmt: skip


@pytest.mark.parametrize("difference", FACTORS)
def test_what_can_be_taken_from_b_is_tried(difference):
    """Each difference says how."""
    assert tried(PAIRS[difference][0]) == ([FACTORS[difference]], [])


@pytest.mark.parametrize("difference", UNTRIED)
def test_what_cannot_be_taken_from_b_is_said(difference):
    """Another CPU, a package that is not as the lock has it, an artifact that was changed."""
    assert tried(PAIRS[difference][0]) == ([], [UNTRIED[difference]])


def test_a_parameter_that_b_has_not_got_is_not_tried():
    """There is no value to take."""
    params = {name: text for name, text in RECORD.params.items() if name != "seed"}
    assert tried(chain(train={"params": params})) == ([], [DifferenceKind.PARAMETER])


def test_several_packages_are_one_factor():
    """The lock is taken as a whole."""
    packages = {"numpy": "2.5.0", "click": "8.2.0", "xgboost": "3.2.0"}
    b = chain(both={"environment": environment(lock_digest=B, packages=packages)})
    assert tried(b) == ([Factor("packages as b has them locked", lock=True)], [])


def test_metrics_that_people_ask_about_stand_first():
    """As the project declares them; the others follow by name."""
    other = chain(train={"params": {**RECORD.params, "seed": "43"}})
    metrics = {"a_metric": 1.0, "val_rmse": 6.0, "test_rmse": 7.0}
    b = [other[0], replace(other[1], made=replace(other[1].made, metrics=metrics))]
    assert [row[1] for row in compare(chain(), b, PIPELINE).metrics] == ["test_rmse", "val_rmse", "val_mae", "a_metric"]


def test_the_effect_of_a_factor_is_its_share_of_the_difference():
    """b is 0.25 minutes above a; with the factor, a moves by 0.125."""
    found = compare(chain(), PAIRS["the seed"][0], PIPELINE)
    a = chain()[1].made
    moved = judge(a, Made("3" * 32, a.lineage, {**METRICS, "val_rmse": 5.625}), PIPELINE)
    assert effect_line(Verdict((moved,)), found) == (
        "train.val_rmse 5.5 -> 5.625, moved by +0.125 (50% of the difference)"
    )


def test_code_that_no_key_covers_comes_last_and_on_one_line():
    """The engine's messages and pages compute nothing; of an older record it is not known what they are."""
    engine = {f"provenance/m{number}.py": A for number in range(9)}
    new = replace(RECORD, engine=1, keyed=("taxi/models/linear.py",), params={**RECORD.params, "seed": "43"})
    chains = [
        [RecordedRun(Made(TRAIN, replace(one, code={"taxi/models/linear.py": A} | code), METRICS), {}, upstream={})]
        for one, code in ((replace(new, params=RECORD.params), {}), (new, engine))
    ]
    lines = comparison_lines(compare(*chains, PIPELINE))
    assert lines[0].startswith("1. parameters: seed 42 -> 43")
    named = ", ".join(f"provenance/m{number}.py (added)" for number in range(3))
    assert lines[1] == f"2. code beside the key: {named} and 6 more"
    older = [
        [replace(run, made=replace(run.made, lineage=replace(run.lineage, engine=0, keyed=())))] for [run] in chains
    ]
    assert "1. code: provenance/m0.py (added) (train)" in comparison_lines(compare(*older, PIPELINE))
