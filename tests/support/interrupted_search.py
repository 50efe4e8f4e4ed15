"""A search that keeps each result as a file, beside and then renamed, as a stand-in for the tracking store.

`python -m tests.support.interrupted_search RESULTS TRACES NUMBER_THAT_HANGS_ONCE`
"""

import os
import sys
from functools import partial
from pathlib import Path

from hyperopt import hp

from search.engines.local import LocalEngine
from search.tpe import search
from search.trial import TrialResult
from tests.support.objectives import Toy, ten

TRIALS = 40
SPACE = {"x": hp.uniform("x", -5, 5)}


def recorded(folder: Path) -> dict[int, TrialResult]:
    """The results kept so far, by number."""
    results = [TrialResult.from_json(path.read_text()) for path in folder.iterdir() if path.name != "beside"]
    return {result.number: result for result in results}


def record(folder: Path, result: TrialResult) -> None:
    (folder / "beside").write_text(result.to_json())
    os.replace(folder / "beside", folder / str(result.number))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with LocalEngine(Toy(sys.argv[2], raises=5, seconds=0.02, hangs_once=int(sys.argv[3])), ten, 2) as engine:
        search(SPACE, engine.submit, max_evals=TRIALS, workers=2, known=recorded(folder),
               on_finished=partial(record, folder))  # fmt: skip
