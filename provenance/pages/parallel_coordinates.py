"""All trials in one picture: an axis for each hyperparameter, a line for each trial; a page that needs no network."""

import json
from collections.abc import Sequence
from pathlib import Path

from search.space import Dimension
from search.trial import TrialResult

TEMPLATE = Path(__file__).with_suffix(".html")
SCORE = Dimension("val_rmse", 0.0, 0.0, unit="minutes")  # its ends are those of the trials


def parallel_coordinates(results: Sequence[TrialResult], dimensions: Sequence[Dimension]) -> str:
    """The page as HTML. Hover over a line for its numbers; drag along an axis to keep the trials that pass there.

    Axes are the dimensions of the search space, log where they are, and val_rmse (minutes), which colours the lines.
    Failed trials have no line; the page says how many there are.
    """
    finished = [result for result in results if result.status == "ok"]
    scores = [result.score for result in finished]
    score = {
        "name": SCORE.name,
        "unit": SCORE.unit,
        "log": False,
        "low": min(scores, default=0),
        "high": max(scores, default=1),
    }
    data = {
        "axes": [_axis(dimension) for dimension in dimensions] + [score],
        "trials": [{"number": r.number, "values": {**r.params, SCORE.name: r.val_rmse}} for r in finished],
        "failed": len(results) - len(finished),
    }
    text = json.dumps(data, sort_keys=True, allow_nan=False).replace("<", "\\u003c")  # nothing in it ends the script
    return TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", text)


def _axis(dimension: Dimension) -> dict[str, str | bool | float]:
    log = dimension.scale == "log"
    return {"name": dimension.name, "unit": dimension.unit, "log": log, "low": dimension.low, "high": dimension.high}
