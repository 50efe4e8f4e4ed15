"""The page of all trials: what is in it, and that a browser draws it."""

import json
import re
import shutil
import subprocess

import pytest

from provenance.pages.parallel_coordinates import parallel_coordinates
from provenance.pipeline.declaration import Metric
from search.space import Dimension
from search.trial import TrialResult, failed

DIMENSIONS = (Dimension("max_depth", 1, 9, unit="levels"), Dimension("rate", 0.01, 1.0, "log", "share"))
RMSE = Metric("val_rmse", "min")
RESULTS = [
    TrialResult(0, {"max_depth": 1, "rate": 0.1}, "ok", 6.0),
    failed(1, {"max_depth": 2, "rate": 0.2}, "broken"),
    TrialResult(2, {"max_depth": 9, "rate": 1.0}, "ok", 4.0),
]


def data_in(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def test_the_page_holds_every_finished_trial_and_the_axes_of_the_space():
    """And val_rmse as the last axis, from the best to the worst score."""
    data = data_in(parallel_coordinates(RESULTS, DIMENSIONS, RMSE))
    assert [trial["number"] for trial in data["trials"]] == [0, 2]
    assert data["trials"][1]["values"] == {"max_depth": 9, "rate": 1.0, "val_rmse": 4.0}
    assert [(axis["name"], axis["log"], axis["low"], axis["high"]) for axis in data["axes"]] == [
        ("max_depth", False, 1, 9),
        ("rate", True, 0.01, 1.0),
        ("val_rmse", False, 4.0, 6.0),
    ]
    assert data["failed"] == 1 and not data["greaterIsBetter"]


def test_a_score_is_shown_as_it_is_and_the_page_knows_its_direction():
    """The search made the negative of the accuracy small."""
    accuracy = Metric("accuracy", greater_is_better=True)
    data = data_in(parallel_coordinates([TrialResult(0, {"rate": 0.1}, "ok", -0.75)], DIMENSIONS, accuracy))
    assert data["trials"][0]["values"] == {"rate": 0.1, "accuracy": 0.75}
    assert data["greaterIsBetter"]


def test_the_page_needs_no_network_and_no_name_breaks_out_of_it():
    """Nothing is loaded from elsewhere, and a parameter's value cannot end the script."""
    trial = TrialResult(0, {"max_depth": 1, "rate": "</script><b>"}, "ok", 6.0)
    page = parallel_coordinates([trial], DIMENSIONS, RMSE)
    assert not re.search(r"""(src|href)=|https?://(?!www\.w3\.org/2000/svg)|@import|fetch\(""", page)
    assert data_in(page)["trials"][0]["values"]["rate"] == "</script><b>"


def test_equal_trials_give_equal_pages_and_none_at_all_an_empty_one():
    """No time, no random identifier."""
    assert parallel_coordinates(RESULTS, DIMENSIONS, RMSE) == parallel_coordinates(list(RESULTS), DIMENSIONS, RMSE)
    assert data_in(parallel_coordinates([], DIMENSIONS, RMSE))["trials"] == []


WIDE = ["M60.0,400.0L500.0,225.0L940.0,50.0", "M60.0,50.0L500.0,50.0L940.0,400.0"]
NARROW = ["M20.0,26.0L180.0,110.0L340.0,194.0", "M340.0,26.0L340.0,110.0L20.0,194.0"]


@pytest.mark.parametrize(("width", "lines"), [(1280, WIDE), (600, NARROW)])
def test_a_browser_draws_a_line_for_each_finished_trial(tmp_path, width, lines):
    """Rate 0.1 of 0.01..1 on a log axis is halfway, depth 9 and the worst score at an end; small screens stack axes."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("left out: drawing in a browser, there is no chromium")
    (tmp_path / "page.html").write_text(parallel_coordinates(RESULTS, DIMENSIONS, RMSE))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},800", "--dump-dom", (tmp_path / "page.html").as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert sorted(re.findall(r'<path d="([^"]+)"', drawn)) == lines
    assert "2 of 2 trials (failed, not shown: 1)." in drawn
