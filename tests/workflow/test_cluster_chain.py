"""The real `mlflow run` with a real scheduler and two workers: every step leaves what it leaves on this machine."""

import pytest

from provenance.record import names
from tests.support.chain_outputs import digests, made
from tests.support.cluster import two_workers
from tests.support.project import SMALL, workplace

pytestmark = pytest.mark.slow


def test_main_and_preprocess_on_a_cluster_leave_what_they_leave_here(tmp_path, migrated_store):
    """Dataset, baseline, trials and version by digest; the workers did it, and a reproduction needs no cluster."""
    here, there = (workplace(tmp_path / name, migrated_store) for name in ("here", "there"))
    local = here.run("main", **SMALL)
    assert local.exit_code == 0, local.stderr
    expected = made(here.client, local.run_id)
    assert expected.keys() == {"preprocess", "train", "hpo", "register"} and all(expected.values())
    (tmp_path / "cluster").mkdir()
    with two_workers(tmp_path / "cluster") as engine:
        alone = there.run("preprocess", engine=engine, source=SMALL["source"])
        assert alone.exit_code == 0, alone.stderr
        assert digests(there.client.get_run(alone.run_id)) == expected["preprocess"]
        chain = there.run("main", engine=engine, reuse="false", **SMALL)
        assert chain.exit_code == 0, chain.stderr
        code = list((tmp_path / "cluster").rglob("code-*"))  # shipped to both
        assert len(code) == 2
    assert made(there.client, chain.run_id) == expected
    hpo = there.client.search_runs(["0"], f"tags.`{names.STEP}` = 'hpo'")[0]
    again = there.run("reproduce", run_id=hpo.info.run_id, patch="true")
    assert again.exit_code == 0, again.stderr
