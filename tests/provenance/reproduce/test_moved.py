"""What a change moves, of two sides written by hand."""

from dataclasses import replace

from provenance.record.lineage import Input
from provenance.reproduce.main_run import Failure, MainRun
from provenance.reproduce.moved import markdown, moves, summary
from steps.pipeline import PIPELINE
from tests.support.records import RECORD, B, C, made

HEAD = "| step | result | before | after | change | first cause |"


def report(before: MainRun, after: MainRun) -> list[str]:
    return markdown(moves(before, after, PIPELINE), {"before": "commit 1"}, PIPELINE).splitlines()


def side(*steps, failure: Failure | None = None) -> MainRun:
    return MainRun({step.lineage.step: step for step in steps}, failure)


def rows(lines: list[str]) -> list[str]:
    start = lines.index(HEAD) + 2
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


def test_a_refactoring_reads_identical():
    """Other code and the same bytes: there is no cause to name."""
    other = made(code={**RECORD.code, "steps/train.py": C})
    lines = report(side(made()), side(other))
    assert "**identical: every output and every metric of every step**" in lines
    assert rows(lines) == ["| train | identical |  |  |  |  |"]


def test_a_parameter_shows_its_metric_and_its_cause():
    """The headline metric first, with its unit and whether that is better."""
    other = made(metrics={"val_rmse": 5.25, "val_mae": 3.5}, params={**RECORD.params, "seed": "43"})
    lines = report(side(made()), side(other))
    assert "**first at train: val_rmse 5.5 -> 5.25 (-0.25 min, better); parameters: seed 42 -> 43**" in lines
    assert rows(lines) == ["| train | val_rmse | 5.5 | 5.25 | -0.25 min, better | parameters: seed 42 -> 43 |"]
    assert "| val_mae | 3.25 | 3.5 | +0.25 min, worse |" in lines


def test_the_last_bit_of_a_metric_is_shown():
    """Six digits would say that nothing moved."""
    lines = report(side(made(metrics={"val_rmse": 0.3})), side(made(metrics={"val_rmse": 0.1 + 0.2})))
    assert rows(lines)[0].startswith("| train | val_rmse | 0.3 | 0.30000000000000004 |")


def test_equal_metrics_with_other_bytes_are_said():
    lines = report(side(made()), side(made(model=B)))
    assert rows(lines)[0].startswith("| train | equal metrics, other bytes |  |  |  | ")


def test_a_step_whose_input_moved_refers_to_the_step_before():
    """Its own changes come before that, and what cannot change a result after it."""
    moved = (Input("dataset", "runs:/" + "2" * 32 + "/dataset", B),)
    other = made(metrics={"val_rmse": 6.0}, inputs=moved)
    assert rows(report(side(made()), side(other)))[0].endswith("| dataset of preprocess differs |")
    seeded = made(metrics={"val_rmse": 6.0}, inputs=moved, params={**RECORD.params, "seed": "43"})
    assert rows(report(side(made()), side(seeded)))[0].endswith("| parameters: seed 42 -> 43 |")


def test_a_step_that_fails_after_the_change_is_said_with_its_error():
    """And with what changed in the record with which it started."""
    tried = replace(RECORD, code={**RECORD.code, "steps/train.py": C}, outputs=())
    failure = Failure("train", "Run failed", ("ValueError: boom ``` <b>",), tried)
    lines = report(side(made()), side(failure=failure))
    assert "**train fails after this change**" in lines
    assert rows(lines) == ["| train | **fails** | finished | fails |  | code: steps/train.py |"]
    assert "ValueError: boom ''' <b>" in lines


def test_a_step_that_fails_before_the_change_is_said():
    """The change may be the one that mends it."""
    found = moves(side(failure=Failure("train", "x")), side(made()), PIPELINE)
    assert summary(found, PIPELINE).startswith("train fails before this change")
    assert found[0].to_dict()["before"] == "x"
    both = moves(side(failure=Failure("train", "x")), side(failure=Failure("train", "y")), PIPELINE)
    assert summary(both, PIPELINE) == "train fails before and after this change"


def test_steps_after_a_failure_and_steps_of_one_side_are_said():
    """hpo ran on one side; the other project has a step that this one does not declare."""
    one, two = (replace(made(), lineage=replace(RECORD, step=step)) for step in ("hpo", "old"))
    lines = report(side(made(), one, two), side(failure=Failure("train", "x")))
    assert rows(lines)[1:] == [
        "| hpo | not compared | finished | not run |  |  |",
        "| old | not compared | finished | not run |  |  |",
    ]
    assert rows(report(side(made(), two), side(made())))[1] == "| old | not compared | finished | no such step |  |  |"


def test_text_of_a_record_cannot_leave_its_cell():
    other = made(metrics={"val_rmse": 6.0}, params={**RECORD.params, "seed": "1 | <img>\n# x"})
    [row] = rows(report(side(made()), side(other)))
    assert "\\| &lt;img> # x" in row
