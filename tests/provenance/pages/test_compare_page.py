"""The page of a comparison: the likeliest cause in the first line, both runs' values as tables."""

from provenance.pages.compare_page import compared_page, compared_result
from provenance.record.difference import Difference, DifferenceKind
from provenance.reproduce.compare import Comparison, RankedDifference
from provenance.reproduce.verdict import StepVerdict
from tests.support.records import A, B

PAIR = StepVerdict(
    "train", "1" * 32, "2" * 32, (("model", A, B),), (("val_rmse", 4.5, 4.25), ("val_mae", 3.0, 3.0)), ()
)
CAUSE = RankedDifference(Difference(DifferenceKind.PARAMETER, "max_depth", "5", "6"), ("train",))


def test_the_first_line_counts_and_names_the_likeliest_cause():
    """And says so where nothing differs, or nothing explains it."""
    found = compared_result(Comparison((PAIR,), (CAUSE,)))
    assert found == "**Different** (1 cause, 1 metric, 1 output): parameters: max_depth 5 -> 6 (train)."
    assert compared_result(Comparison((), ())).startswith("**No difference** in code")
    assert compared_result(Comparison((PAIR,), ())).endswith("nothing that is recorded explains it.")


def test_metrics_and_outputs_of_both_runs_stand_side_by_side():
    """Only what differs, with how far it is apart; then the code as git shows it."""
    parts = compared_page(Comparison((PAIR,), (CAUSE,)), ["a with max_depth=6: val_rmse 4.25"], "-1\n+2").split("\n\n")
    assert parts[0].startswith("1. parameters: max_depth 5")
    assert parts[1].splitlines()[0] == "| metric | a | b | b - a |"
    assert parts[1].splitlines()[2:] == ["| train val_rmse | 4.5 | 4.25 | -0.25 |"]
    assert parts[2].splitlines()[2:] == [f"| train model | `{A[:12]}` | `{B[:12]}` |"]
    assert parts[3] == "- a with max_depth=6: val_rmse 4.25"
    assert parts[4:] == ["## Code", "````diff\n-1\n+2\n````"]
