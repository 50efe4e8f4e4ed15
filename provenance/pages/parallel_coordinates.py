"""All trials in one picture: an axis for each hyperparameter, a line for each trial; a page that needs no network."""

import json
from collections.abc import Sequence
from pathlib import Path

from search.space import Dimension
from search.trial import Metric, TrialResult, loss_of

TEMPLATE = Path(__file__).with_suffix(".html")


def parallel_coordinates(results: Sequence[TrialResult], dimensions: Sequence[Dimension], metric: Metric) -> str:
    """The page as HTML. Hover over a line for its numbers; drag along an axis to keep the trials that pass there.

    Axes are the dimensions of the search space, log where they are, and the metric, which colours the lines.
    Failed trials have no line; the page says how many there are.
    """
    finished = [result for result in results if result.status == "ok"]
    scores = [loss_of(metric, result.known_loss) for result in finished]
    score = {
        "name": metric.name,
        "unit": metric.unit,
        "log": False,
        "low": min(scores, default=0),
        "high": max(scores, default=1),
    }
    data = {
        "axes": [_axis(dimension) for dimension in dimensions] + [score],
        "greaterIsBetter": metric.greater_is_better,
        "trials": [
            {"number": result.number, "values": {**result.params, metric.name: value}}
            for result, value in zip(finished, scores, strict=True)
        ],
        "failed": len(results) - len(finished),
    }
    text = json.dumps(data, sort_keys=True, allow_nan=False).replace("<", "\\u003c")  # nothing in it ends the script
    return TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", text)


def _axis(dimension: Dimension) -> dict[str, str | bool | float]:
    log = dimension.scale == "log"
    return {"name": dimension.name, "unit": dimension.unit, "log": log, "low": dimension.low, "high": dimension.high}
