"""Grades and blame, on records written by hand."""

import json
import math

import pytest

from provenance.record.lineage import Input
from provenance.reproduce.differences import Difference, find_differences
from provenance.reproduce.report import markdown
from provenance.reproduce.verdict import NO_CAUSE, Grade, Verdict, failed, judge, relative
from tests.support.records import METRICS, RECORD, B, environment, made

MORE = {**METRICS, "val_rmse": 5.5 * (1 + 1e-9)}
WORSE = {**METRICS, "val_rmse": 5.6}


def test_the_same_digests_and_metrics_are_identical():
    """Nothing differs, nothing is blamed."""
    verdict = judge(made(), made())
    assert verdict.grade is Grade.IDENTICAL
    assert verdict.explanations == ()


@pytest.mark.parametrize(
    ("repeated", "grade"),
    [
        (made(model=B), Grade.METRICS),
        (made(model=B, metrics=MORE), Grade.CLOSE),
        (made(metrics=MORE), Grade.CLOSE),
        (made(metrics=WORSE), Grade.DIVERGED),
        (made(model=B, metrics={"val_rmse": 5.5}), Grade.DIVERGED),  # a metric is missing
        (made(metrics={**METRICS, "val_r2": 0.5}), Grade.DIVERGED),  # a metric that was not there
        (made(metrics={**METRICS, "val_rmse": math.nan}), Grade.DIVERGED),
        (made(metrics={**METRICS, "system/cpu": 50.0}), Grade.IDENTICAL),  # MLflow's, about the machine
        (made(metrics={**METRICS, "gate/latency_ms": 2.5}), Grade.IDENTICAL),  # the gate's, about the moment
        (made(metrics={**METRICS, "rounds/val_rmse": 5.5}), Grade.IDENTICAL),  # the end of a curve: no result
        (made(metrics={**METRICS, "trials/val_rmse": 5.5}), Grade.IDENTICAL),
    ],
)
def test_grades(repeated, grade):
    """Bytes, then metrics, then metrics within the tolerance of 1e-6."""
    assert judge(made(), repeated, tolerance=1e-6).grade is grade


def test_an_output_that_differs_without_any_metric_has_diverged():
    """A dataset has no metric that could vouch for other bytes."""
    assert judge(made(metrics={}), made(metrics={}, model=B), tolerance=1).grade is Grade.DIVERGED


def test_without_a_tolerance_the_last_bit_counts():
    """The next float is another metric."""
    other = {**METRICS, "val_rmse": math.nextafter(5.5, 6)}
    assert judge(made(), made(metrics=other)).grade is Grade.DIVERGED


def test_relative_distance():
    """Relative to the larger; equal bits are 0, what cannot be compared is infinitely far."""
    assert relative(4.0, 5.0) == 0.2
    assert relative(-5.0, 5.0) == 2.0
    assert relative(0.0, 0.0) == 0.0
    assert relative(0.0, -0.0) > 0
    assert relative(math.nan, math.nan) == 0.0
    assert relative(1.0, math.inf) == math.inf
    assert relative(1.0, None) == math.inf


def test_damage_is_blamed_first_and_never_passes():
    """An artifact that was changed after the run is not what the record's metrics are about."""
    verdict = judge(made(), made(), damage=("recorded output model: model.ubj altered",))
    assert verdict.grade is Grade.DIVERGED
    assert verdict.explanations == ("data: recorded output model: model.ubj altered",)


def test_a_failed_repetition_is_blamed_on_what_it_started_with():
    """A raw month that cannot be read any more: the digest that it had when the step failed says so."""
    tried = made(inputs=(Input("2023-01", "/elsewhere", B),)).lineage
    verdict = failed(made(), "the step failed", tried=tried)
    assert verdict.grade is Grade.DIVERGED
    assert verdict.explanations[0] == "data: raw month 2023-01 sha256 absent -> bbbbbbbbbbbb"


def test_a_made_up_month_that_was_not_read_is_not_blamed():
    """Before it is made, only its recipe is known: the same one as recorded is no difference, another one is."""
    recipe, content, keyed = Input("2023-01", "sample", B), Input("2023-01", "sample", "a" * 64), {"2023-01": B}
    unread = made(inputs=(recipe,), key_inputs=keyed).lineage
    assert find_differences(made(inputs=(content,), key_inputs=keyed).lineage, unread) == ()
    other = made(inputs=(content,), key_inputs={"2023-01": "d" * 64}).lineage
    assert [cause.kind for cause in find_differences(other, unread)] == ["data"]


ONE_CHANGE = {
    "data": ({"inputs": (Input("dataset", "runs:/2/dataset", B),)},
             "input dataset sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb"),
    "code": ({"code": {**RECORD.code, "taxi/models/linear.py": "d" * 64}}, "taxi/models/linear.py"),
    "parameters": ({"params": {**RECORD.params, "seed": "43"}}, "seed 42 -> 43"),
    "packages": ({"environment": environment(
        packages={"numpy": "2.4.5", "click": "8.1.0", "xgboost": "3.2.0"},
        differences=[["numpy", "2.4.6", "2.4.5"]])}, "installed: numpy 2.4.6 -> 2.4.5"),
    "python": ({"environment": environment(python="3.11.8")}, "python 3.11.7 -> 3.11.8"),
    "platform": ({"environment": environment(platform="macOS-15")},
                 "platform Linux-6.1-x86_64-with-glibc2.36 -> macOS-15"),
    "cpu": ({"environment": environment(cpu="Another CPU")}, "cpu A CPU -> Another CPU"),
    "threads": ({"environment": environment(threads={"OMP_NUM_THREADS": "1"})},
                "variable: OMP_NUM_THREADS absent -> 1"),
    "manager": ({"environment": environment(manager="conda")}, "manager uv -> conda"),
    "beside the lock": ({"environment": environment(extras={})}, "beside the lock: pytest 9.2.0 -> absent"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_CHANGE)
def test_one_difference_is_the_one_cause(kind):
    """Whatever differs alone is named, and nothing else is."""
    changes, text = ONE_CHANGE[kind]
    assert find_differences(RECORD, made(**changes).lineage) == (Difference(kind, text),)


def test_a_cause_is_one_printable_line():
    """Values come from a server and go to a terminal."""
    hostile = made(params={**RECORD.params, "seed": "4\n\x1b[2J3"}).lineage
    assert [str(cause) for cause in find_differences(RECORD, hostile)] == ["parameters: seed 42 -> 4 [2J3"]


def test_causes_are_ranked_by_how_likely_they_are():
    """Data before code before parameters before packages, numeric packages first, then the machine."""
    repeated = made(
        inputs=(Input("dataset", "runs:/2/dataset", B),),
        params={**RECORD.params, "seed": "43"},
        environment=environment(
            python="3.11.8",
            packages={"numpy": "2.4.5", "click": "8.0.0", "xgboost": "3.2.0"},
            differences=[["click", "8.1.0", "8.0.0"], ["numpy", "2.4.6", "2.4.5"]],
            cores=4,
        ),
    )
    found = [str(cause).split(" ->")[0] for cause in find_differences(RECORD, repeated.lineage)]
    assert found == [
        "data: input dataset sha256 aaaaaaaaaaaa",
        "parameters: seed 42",
        "packages: installed: numpy 2.4.6",
        "packages: installed: click 8.1.0",
        "python: python 3.11.7",
        "threads: cores 2",
    ]


def test_where_the_months_lay_is_no_difference():
    """Another folder, the same bytes."""
    moved = made(placement={"source": "/home/b/months"})
    assert find_differences(made(placement={"source": "/home/a/months"}).lineage, moved.lineage) == ()


def test_the_worst_step_is_the_grade_and_the_first_one_is_named():
    """Later steps had other inputs: what went wrong first is what to look at."""
    seed = {"params": {**RECORD.params, "seed": "43"}}
    verdict = Verdict((judge(made(), made()), judge(made(), made(model=B, **seed)), judge(made(), made(metrics=WORSE))))
    assert verdict.grade is Grade.DIVERGED
    assert verdict.line() == "grade diverged  first at train: parameters: seed 42 -> 43"


def test_an_unexplained_difference_says_so():
    """No invented cause."""
    assert judge(made(), made(metrics=WORSE)).explanations == (NO_CAUSE,)


def test_the_report_shows_what_differs_and_no_markup_of_the_record():
    """A record comes from a server: its texts stay in their cells."""
    hostile = {"params": {**RECORD.params, "seed": "4\n| x | <b>"}}
    verdict = Verdict((judge(made(), made(metrics=WORSE, **hostile)),))
    text = markdown(verdict, "Reproduction", {"of run": "1" * 32})
    assert "| val_rmse | `5.5` | `5.6` | 0.018 |" in text
    assert "Something did not come out again" in text
    assert "1. parameters: seed 42 -> 4 \\| x \\| &lt;b>" in text


def test_a_verdict_is_plain_json():
    """Also with a metric that JSON has no number for."""
    verdict = judge(made(), made(metrics={**METRICS, "val_rmse": math.inf}))
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["grade"] == "diverged"
