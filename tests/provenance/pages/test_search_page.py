"""The trials of a search as a table in MLflow's pages."""

import csv
import io

from provenance.pages.search_page import trials_csv
from provenance.pipeline.declaration import Metric
from search.trial import TrialResult, failed


def test_the_table_has_a_row_a_trial_the_best_first_and_the_score_beside_its_number():
    """A failed trial comes last, with its error; no digest."""
    results = [
        TrialResult(0, {"max_depth": 4}, "ok", 5.0, metrics={"val_mae": 3.0, "val_rmse": 5.0}),
        failed(1, {"max_depth": 9}, 'over, "trial_timeout"'),
        TrialResult(2, {"max_depth": 5}, "ok", 4.123456, metrics={"val_mae": 2.5, "val_rmse": 4.123456}),
    ]
    head, *rows = csv.reader(io.StringIO(trials_csv(results, Metric("val_rmse"))))
    assert head[:3] == ["number", "metrics.val_rmse", "metrics.val_mae"]
    assert "params.max_depth" in head
    assert "model_digest" not in head
    assert [row[:2] for row in rows] == [["2", "4.1235"], ["0", "5"], ["1", ""]]
    assert rows[2][head.index("error")] == 'over, "trial_timeout"'
