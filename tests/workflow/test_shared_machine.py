"""A machine that many share: chains of different keys at once, each as slow as it must be; none gives up."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from provenance.record import names, run_tags
from tests.support.project import Result, Workplace, workplace

pytestmark = pytest.mark.slow
CHAINS = int(os.environ.get("CHAINS", "8"))  # at once
SMALL = {"source": "sample:2000", "max_evals": "2", "top_n": "1"}


def outputs(place: Workplace, result: Result) -> dict[str, str]:
    """Step and output -> digest, of one chain; of a step that it reused, those of the run that made them."""
    found = {}
    for step, run_id in run_tags.steps(place.client.get_run(result.run_id).data.tags).items():
        tags = place.client.get_run(run_id).data.tags
        if names.REUSED in tags:
            tags = place.client.get_run(tags[names.REUSED]).data.tags
        found |= {f"{step} {name}": output.digest for name, output in run_tags.outputs(tags).items()}
    return found


def test_chains_of_different_keys_at_once_end_as_each_alone(tmp_path, migrated_store):
    """Nothing times out, no run stays open, and what comes of each is what comes of it with the machine to itself."""
    crowd, alone = (workplace(tmp_path / name, migrated_store) for name in ("crowd", "alone"))
    with ThreadPoolExecutor(CHAINS) as pool:
        crowded = list(pool.map(lambda seed: crowd.run(**SMALL, seed=seed), range(CHAINS)))
    for result in crowded:
        assert result.exit_code == 0, result.stderr[-3000:]
        assert "locked" not in result.stderr and "Traceback" not in result.stderr
    runs = crowd.client.search_runs(["0"], max_results=5000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for seed in (0, CHAINS - 1):
        undisturbed = alone.run(**SMALL, seed=seed)
        assert undisturbed.exit_code == 0, undisturbed.stderr[-3000:]
        expected = outputs(alone, undisturbed)
        assert {name.split()[0] for name in expected} == {"preprocess", "train", "hpo", "register"}
        assert outputs(crowd, crowded[seed]) == expected
