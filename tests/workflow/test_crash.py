"""kill -9 of everything at random moments: a plain re-run ends where an undisturbed run ends."""

import os
import random
import signal
import subprocess
import time

import pytest

from provenance.record import names
from tests.support.chain_results import end_of
from tests.support.project import Workplace, workplace

PARAMS = {"source": "sample:3000", "max_evals": "6", "top_n": "2"}
KILLS = int(os.environ.get("KILLS", "50"))  # moments in all
A_CHAIN, SEED = 5, 7  # at most so many kills in one chain, which begins from an empty store


def killed_after(place: Workplace, seconds: float) -> bool:
    """Start `main`, kill its whole session after `seconds`; False when it was done before."""
    with place.started(place.folder / "log", **PARAMS) as running:
        try:
            running.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return True


@pytest.mark.slow
def test_a_chain_killed_anywhere_ends_like_an_undisturbed_one(tmp_path, migrated_store):
    """Finished steps and trials are taken up, half-written ones never, and no run stays RUNNING."""
    undisturbed = workplace(tmp_path / "undisturbed", migrated_store)
    started = time.monotonic()
    assert undisturbed.run(**PARAMS).exit_code == 0
    whole, expected = time.monotonic() - started, end_of(undisturbed)
    started = time.monotonic()
    assert undisturbed.run(**PARAMS).exit_code == 0
    nothing_to_do = time.monotonic() - started
    rng, kills, chains = random.Random(SEED), 0, 0
    while kills < KILLS:
        place, chains = workplace(tmp_path / f"chain-{chains}", migrated_store), chains + 1
        left = whole
        for _ in range(min(A_CHAIN, KILLS - kills)):
            moment = rng.uniform(0.5, left)
            if not killed_after(place, moment):
                break  # taken up so well that it was done before
            kills += 1
            left = min(left, left - moment + nothing_to_do)  # what was done is taken up, not done again
        last = place.run(**PARAMS)
        assert last.exit_code == 0, last.stderr
        assert end_of(place) == expected
        running = place.client.search_runs(["0"], "attributes.status = 'RUNNING'")
        # A run killed before its step came up has nobody's mark on it yet: only those may still look alive.
        assert all(names.PROCESS not in run.data.tags for run in running)
        trials = place.client.search_runs(["0"], f"tags.`{names.TRIAL_RESULT}` != ''", max_results=1000)
        fitted = [run.data.tags[names.TRIAL] for run in trials if names.REUSED not in run.data.tags]
        assert sorted(fitted) == [str(number) for number in range(6)], "a finished trial ran twice"
    print(f"{kills} kills over {chains} chains of {whole:.0f} s; every chain ended with {expected}")
