"""A best trial at the edge of the search space is said, on stderr and on the page."""

from types import SimpleNamespace

from provenance.pipeline.search_run import warn_of_edges
from search.trial import TrialResult, failed
from steps.hpo import study
from taxi.models.objective import Objective


def warned(*results: TrialResult) -> tuple[list[str], str]:
    """What is said, and the page's text, after a search of boosting with these trials."""
    said: list[str] = []
    step = SimpleNamespace(say=said.append, note="the space")
    warn_of_edges(step, study(Objective("xgboost", "full", 42)), list(results))
    return said, step.note


INSIDE = {"max_depth": 7, "learning_rate": 0.2, "subsample": 0.8, "reg_lambda": 100.0}


def test_the_best_trial_at_the_edge_is_warned_of():
    """A worse one there, or none that finished, says nothing."""
    edge = TrialResult(0, {**INSIDE, "max_depth": 5}, "ok", loss=4.0)
    inside = TrialResult(1, INSIDE, "ok", loss=5.0)
    line = "the best trial lies at the edge of the search space: max_depth 5 at the lower end of 5 to 9; "
    said, note = warned(edge, inside)
    assert said == [f"warning: {line}a wider space may have a better one"]
    assert note == f"**Warning**: {line}a wider space may have a better one.\n\nthe space"
    assert warned(TrialResult(0, edge.params, "ok", loss=6.0), inside) == ([], "the space")
    assert warned(failed(0, edge.params, "broken")) == ([], "the space")
