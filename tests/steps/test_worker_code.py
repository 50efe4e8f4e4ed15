"""What a cluster's workers are given of this project."""

from types import SimpleNamespace

from provenance.record.code import closure
from steps.worker_code import worker_code
from tests.support.project import ROOT


def test_workers_are_given_what_runs_record_below_the_steps():
    """Not what nothing imports, nor what talks with MLflow; the name is the MLproject's."""
    code = worker_code(SimpleNamespace(session=SimpleNamespace(root=ROOT)))
    assert code.name == "nyc-taxi-duration"
    recorded = {path for step in ("preprocess", "train", "hpo") for path in closure(ROOT, f"steps.{step}")}
    assert set(code.files) < recorded
    assert {path.partition("/")[0] for path in code.files} == {"taxi", "search", "runtime"}
    assert {"taxi/models/objective.py", "taxi/distributed/cluster_months.py"} < set(code.files)
    assert "taxi/evaluation/drift.py" not in code.files
