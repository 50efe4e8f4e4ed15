"""Never more threads at work than cores: a fit and its scoring keep one busy, whatever the machine has."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from search.trial import TrialResult
from taxi.dataset.dataset import Dataset, build
from taxi.distributed.trial_engine import open_engine
from taxi.features.fitting import FEATURE_SETS
from taxi.models.families import FAMILIES
from taxi.models.objective import Objective
from taxi.sources.locate import locate


def ticks() -> dict[str, int]:
    """Processor time of each thread of this process, in clock ticks, by its id."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = int(fields[11]) + int(fields[12])
    return found


@dataclass(frozen=True)
class Watched(Objective):
    """A trial that tells as its params what its process's threads did meanwhile."""

    def __call__(self, data, number, params) -> TrialResult:
        super().__call__(data, number, params)  # libraries spin up threads as they are loaded
        before = ticks()
        for _ in range(3):
            super().__call__(data, number, params)
        spent = {thread: spent - before.get(thread, 0) for thread, spent in ticks().items()}
        return TrialResult(number, {thread: spent for thread, spent in spent.items() if spent}, "ok", 0.0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="left out: threads are counted in /proc")
@pytest.mark.parametrize(
    ("family", "params"),
    [("xgboost", {"n_estimators": 20}), ("random_forest", {"n_estimators": 4}), ("linear", {})],
)
def test_a_trial_keeps_one_thread_busy(family, params, tmp_path):
    """In a worker process as the search starts it: the others, if a library made any, did next to nothing."""
    months = locate("sample:30000", "green", ["2023-01", "2023-02"], scratch=tmp_path)
    build({"train": months[:1], "val": months[1:]}, FEATURE_SETS["full"], tmp_path / "dataset")
    dataset = Dataset.open(tmp_path / "dataset")
    with open_engine("local", Watched(family, "full", 42), dataset, "", workers=1) as engine:
        result = engine.submit(0, FAMILIES[family].parse(params).as_dict()).result(timeout=60)
    assert result.error is None
    busy = sorted(result.params.values(), reverse=True)
    assert sum(busy[1:]) <= 2 + 0.05 * busy[0], busy
