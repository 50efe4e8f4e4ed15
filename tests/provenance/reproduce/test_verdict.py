"""Grades and blame, on records written by hand."""

import json
import math
from dataclasses import replace

import pytest

from provenance.record.difference import Difference, DifferenceKind
from provenance.record.lineage import Input, Output
from provenance.record.problem import Problem, ProblemKind
from provenance.record.run_page import run_link
from provenance.reproduce.differences import find_differences
from provenance.reproduce.model_loading import REQUIREMENTS, ModelFile
from provenance.reproduce.report import markdown, result, table
from provenance.reproduce.verdict import NO_CAUSE, Grade, Made, Verdict, failed, judge, relative
from steps.pipeline import PIPELINE
from tests.support.records import ENVIRONMENT, METRICS, RECORD, A, B, environment, made, of_months

MORE = {**METRICS, "val_rmse": 5.5 * (1 + 1e-9)}
WORSE = {**METRICS, "val_rmse": 5.6}


def test_the_same_digests_and_metrics_are_identical():
    """Nothing differs, nothing is blamed."""
    verdict = judge(made(), made(), PIPELINE)
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
    assert judge(made(), repeated, PIPELINE, tolerance=1e-6).grade is grade


@pytest.mark.parametrize(
    ("path", "grade", "first"),
    [
        ("constraints.txt", Grade.METRICS, "packages: installed: numpy 2.3.5 -> "),
        ("code/steps/train.py", Grade.DIVERGED, "model: model code/steps/train.py is not what the recorded code makes"),
    ],
)
def test_a_model_lists_the_packages_that_were_there(path, grade, first):
    """Other ones are the cause, and what the model says of them is not; its code is not what packages decide."""
    mlmodel = {ModelFile("model", "MLmodel"): A}

    def run(digest: str, **facts) -> Made:
        files = {name: (1, digest if name == path else A) for name in ("MLmodel", path)}
        output = Output("model", "models:/m-2", A, files, (*files,))
        listed = {ModelFile("model", path): digest} if path in REQUIREMENTS else {}
        return replace(made(), lineage=replace(RECORD, outputs=(output,), **facts), settings={**mlmodel, **listed})

    older = {"packages": {**ENVIRONMENT["packages"], "numpy": "2.3.5"}, "differences": [["numpy", "2.4.6", "2.3.5"]]}
    original = run(B, environment=environment(**older))
    verdict = judge(original, run(A), PIPELINE, same_code=True)
    assert verdict.grade is grade
    assert verdict.explanations[0].startswith(first)


def test_an_output_that_differs_without_any_metric_has_diverged():
    """A dataset has no metric that could vouch for other bytes."""
    assert judge(made(metrics={}), made(metrics={}, model=B), PIPELINE, tolerance=1).grade is Grade.DIVERGED


def test_without_a_tolerance_the_last_bit_counts():
    """The next float is another metric."""
    other = {**METRICS, "val_rmse": math.nextafter(5.5, 6)}
    assert judge(made(), made(metrics=other), PIPELINE).grade is Grade.DIVERGED


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
    altered = Problem(ProblemKind.ALTERED, "model.ubj", "a" * 64, B, output="model")
    verdict = judge(made(), made(), PIPELINE, damage=(altered,))
    assert verdict.grade is Grade.DIVERGED
    assert verdict.explanations == (f"data: {altered.of_record()}",)
    assert verdict.to_dict()["damage"] == [altered.to_dict()]


def test_a_failed_repetition_is_blamed_on_what_it_started_with():
    """An input that cannot be read any more: the digest that it had when the step failed says so."""
    tried = of_months({}, Input("2023-01", "/elsewhere", B))
    differences = find_differences(of_months({}), tried, PIPELINE)
    verdict = failed(made(), "the step failed", differences=differences)
    assert verdict.grade is Grade.DIVERGED
    assert verdict.explanations[0] == "data: raw month 2023-01 sha256 absent -> bbbbbbbbbbbb"


def test_a_generated_input_that_was_not_read_is_not_blamed():
    """Before it is made, only its recipe is known: the same one as recorded is no difference, another one is."""
    recipe, content, keyed = Input("2023-01", "sample", B), Input("2023-01", "sample", "a" * 64), {"2023-01": B}
    unread = of_months({}, recipe, key_inputs=keyed)
    assert find_differences(of_months({}, content, key_inputs=keyed), unread, PIPELINE) == ()
    other = of_months({}, content, key_inputs={"2023-01": "d" * 64})
    [found] = find_differences(other, unread, PIPELINE)
    assert (found.kind, found.subject) == (DifferenceKind.EXTERNAL_INPUT, "2023-01")


FIRST, SECOND, ALTERED = Input("2023-01", "/m", "a" * 64), Input("2023-02", "/m", "c" * 64), Input("2023-01", "/n", B)


@pytest.mark.parametrize(
    ("params", "inputs", "blamed"),
    [
        ({}, (ALTERED, SECOND), ["2023-01"]),  # other content: nobody asked for it
        ({"val_months": "none"}, (FIRST,), []),  # one is no longer asked for
        ({"val_months": "none"}, (ALTERED,), ["2023-01"]),  # and the other has other content, which no one asked for
        ({"taxi": "yellow"}, (ALTERED, Input("2023-02", "/m", B)), []),  # other files by the same roles
        ({"val_months": "2023-01"}, (ALTERED,), ["2023-01"]),  # parameters that do not go together say nothing
        ({"features": "course"}, (ALTERED, SECOND), ["2023-01"]),  # a parameter that chooses no input
    ],
)
def test_an_external_input_that_the_parameters_chose_is_not_blamed(params, inputs, blamed):
    """The parameter is the cause; content that changed behind the same parameters is one of its own."""
    found = find_differences(of_months({}, FIRST, SECOND), of_months(params, *inputs), PIPELINE)
    assert [one.subject for one in found if one.kind is DifferenceKind.EXTERNAL_INPUT] == blamed
    assert [one.subject for one in found if one.kind is DifferenceKind.PARAMETER] == [*params]


def test_an_altered_external_input_is_said_with_where_it_lay():
    """Its folder may be the reason, and is no difference of its own."""
    [found] = find_differences(of_months({}, FIRST), of_months({}, ALTERED), PIPELINE)
    assert found == Difference(DifferenceKind.EXTERNAL_INPUT, "2023-01", "a" * 64, B, "raw month", ("/m", "/n"))


K = DifferenceKind
ONE_CHANGE = {
    K.INPUT: ({"inputs": (Input("dataset", "runs:/2/dataset", B),)}, "dataset", "a" * 64, B),
    K.CODE: ({"code": {**RECORD.code, "taxi/models/linear.py": "d" * 64}}, "taxi/models/linear.py", B, "d" * 64),
    K.PARAMETER: ({"params": {**RECORD.params, "seed": "43"}}, "seed", "42", "43"),
    K.PLACEMENT: ({"placement": {"workers": "2"}}, "workers", None, "2"),
    K.LOCKED: ({"environment": environment(lock_digest=B, packages={**ENVIRONMENT["packages"], "click": "8.2.0"})},
               "click", "8.1.0", "8.2.0"),
    K.LOCK_TEXT: ({"environment": environment(lock_digest=B)}, "requirements.lock", "a" * 64, B),
    K.INSTALLED: ({"environment": environment(
        packages={"numpy": "2.4.5", "click": "8.1.0", "xgboost": "3.2.0"},
        differences=[["numpy", "2.4.6", "2.4.5"]])}, "numpy", "2.4.6", "2.4.5"),
    K.PYTHON: ({"environment": environment(python="3.11.8")}, "python", "3.11.7", "3.11.8"),
    K.PLATFORM: ({"environment": environment(platform="macOS-15")}, "platform", "Linux-6.1-x86_64-with-glibc2.36",
                 "macOS-15"),
    K.CPU: ({"environment": environment(cpu="Another CPU")}, "cpu", "A CPU", "Another CPU"),
    K.MACHINE: ({"environment": environment(machine="arm64")}, "machine", "x86_64", "arm64"),
    K.CORES: ({"environment": environment(cores=4)}, "cores", "2", "4"),
    K.VARIABLE: ({"environment": environment(threads={"OMP_NUM_THREADS": "1"})}, "OMP_NUM_THREADS", None, "1"),
    K.MANAGER: ({"environment": environment(manager="conda")}, "manager", "uv", "conda"),
    K.BESIDE_THE_LOCK: ({"environment": environment(extras={})}, "pytest", "9.2.0", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_CHANGE, ids=lambda kind: kind.name)
def test_one_difference_is_the_one_cause(kind):
    """Whatever differs alone is named, and nothing else is."""
    changes, subject, before, after = ONE_CHANGE[kind]
    found = find_differences(RECORD, made(**changes).lineage, PIPELINE)
    assert found == (Difference(kind, subject, before, after),)


def test_a_cause_is_one_printable_line():
    """Values come from a server and go to a terminal."""
    hostile = made(params={**RECORD.params, "seed": "4\n\x1b[2J3"}).lineage
    assert [str(cause) for cause in find_differences(RECORD, hostile, PIPELINE)] == ["parameters: seed 42 -> 4 [2J3"]


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
    assert [(cause.kind, cause.subject) for cause in find_differences(RECORD, repeated.lineage, PIPELINE)] == [
        (DifferenceKind.INPUT, "dataset"),
        (DifferenceKind.PARAMETER, "seed"),
        (DifferenceKind.INSTALLED, "numpy"),
        (DifferenceKind.INSTALLED, "click"),
        (DifferenceKind.PYTHON, "python"),
        (DifferenceKind.CORES, "cores"),
    ]


def test_where_external_inputs_lay_is_no_difference():
    """Another folder, the same bytes."""
    here, there = (of_months({}, placement={"source": folder}) for folder in ("/home/a", "/home/b"))
    assert find_differences(here, there, PIPELINE) == ()


def test_the_worst_step_is_the_grade_and_the_first_one_is_named():
    """Later steps had other inputs: what went wrong first is what to look at."""
    seed = {"params": {**RECORD.params, "seed": "43"}}
    verdict = Verdict(
        (
            judge(made(), made(), PIPELINE),
            judge(made(), made(model=B, **seed), PIPELINE),
            judge(made(), made(metrics=WORSE), PIPELINE),
        )
    )
    assert verdict.grade is Grade.DIVERGED
    assert verdict.line() == "grade diverged  first at train: parameters: seed 42 -> 43"


def test_an_unexplained_difference_says_so():
    """No invented cause."""
    assert judge(made(), made(metrics=WORSE), PIPELINE).explanations == (NO_CAUSE,)


def test_the_report_shows_what_differs_and_no_markup_of_the_record():
    """A record comes from a server: its texts stay in their cells."""
    hostile = {"params": {**RECORD.params, "seed": "4\n| x | <b>"}}
    verdict = Verdict((judge(made(), made(metrics=WORSE, **hostile), PIPELINE),))
    text = markdown(verdict, "Reproduction", {"of run": "1" * 32})
    assert "| val_rmse | `5.5` | `5.6` | 0.018 |" in text
    assert "Something did not come out again" in text
    assert "1. parameters: seed 42 -> 4 \\| x \\| &lt;b>" in text


def test_a_verdict_is_plain_json():
    """Also with a metric that JSON has no number for."""
    verdict = judge(made(), made(metrics={**METRICS, "val_rmse": math.inf}), PIPELINE)
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["grade"] == "diverged"


def test_a_page_says_the_grade_first_and_links_the_runs():
    """An id that is none, which a record may hold, becomes no link."""
    same = Verdict((judge(made(), made(), PIPELINE),))
    assert result(same).startswith("**identical**. Every output and every metric came out again")
    worse = Verdict((judge(made(), made(metrics=WORSE), PIPELINE),))
    assert result(worse).startswith("**diverged**, first at train: nothing that is recorded differs")
    step = replace(same.steps[0], original="x](http://evil)", repeated="1" * 32)
    text = table(Verdict((step,)), {}, run_link, run_link)
    assert f"| `x](http://evil)` | [run 11111111](#/runs/{'1' * 32}) |" in text
    assert not text.startswith("#")
