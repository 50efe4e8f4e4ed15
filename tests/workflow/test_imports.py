"""What a step imports: no more than its work needs. Each second that is imported for nothing is paid by every step."""

import subprocess
import sys

import pytest

from provenance.record.code import closure
from tests.support.project import ROOT, Workplace, environment, workplace

# What takes long to import, and what MLflow does not import itself. (It does import pandas, pyarrow, NumPy, SciPy.)
HEAVY = ("distributed", "hyperopt", "matplotlib", "mlflow.pyfunc", "pyarrow.parquet", "securesystemslib", "sklearn",
         "xgboost")  # fmt: skip
# Runs the module that it is given as a program, and says last on stderr which of HEAVY that has imported.
PROGRAM = f"""
import atexit, runpy, sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = sys.argv[1:]
atexit.register(lambda: print("imported", *[name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
SMALL = ("--source", "sample:3000")
CHAIN = (*SMALL, "--max-evals", "4", "--workers", "1")


def imported(place: Workplace, step: str, *words: str) -> set[str]:
    """What of HEAVY a step that ran to its end had imported then."""
    command = [sys.executable, "-c", PROGRAM, f"steps.{step}", *words]
    store = environment({"MLFLOW_TRACKING_URI": place.store})
    done = subprocess.run(command, cwd=place.folder, env=store, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, last = (line for line in done.stderr.splitlines() if line.startswith("imported"))
    return {*last.split()[1:]}


def test_a_step_imports_what_its_work_needs(tmp_path, migrated_store):
    """A dataset takes no model library, and only what draws takes matplotlib; without work nothing of it is needed."""
    place = workplace(tmp_path, migrated_store)
    assert imported(place, "preprocess", *SMALL) == {"pyarrow.parquet"}
    assert not imported(place, "train", *SMALL) & {"matplotlib", "hyperopt", "distributed", "sklearn"}
    assert imported(place, "train", *SMALL) == set()
    assert imported(place, "plan", *CHAIN) == set()
    assert imported(place, "gc") == set()


@pytest.mark.slow
def test_what_has_nothing_to_do_imports_nothing_heavy(tmp_path, migrated_store):
    """Every step of a chain that ran before, the chain itself, and what reports on it."""
    place = workplace(tmp_path, migrated_store)
    for step in ("preprocess", "train", "hpo"):
        imported(place, step, *(CHAIN if step == "hpo" else SMALL))
    assert "sklearn" not in imported(place, "register", *CHAIN)  # a model of XGBoost takes none
    for step in ("hpo", "register", "main", "plan"):
        assert imported(place, step, *CHAIN) == set(), step


def run_alone(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_xgboost_alone_is_whole_but_for_scikit_learn():
    """It fits; scikit-learn itself is there for whoever else imports it, and may be imported first."""
    code = """
import {first}sys, numpy as np
import steps.xgboost_alone
import xgboost as xgb
print("sklearn" in sys.modules, hasattr(xgb.compat.XGBModelBase, "get_params"))
print(xgb.train({{}}, xgb.DMatrix(np.eye(4), np.arange(4.0)), 2).num_boosted_rounds())
import sklearn.linear_model
"""
    assert run_alone(code.format(first="")).split() == ["False", "False", "2"]
    assert run_alone(code.format(first="sklearn, ")).split() == ["True", "True", "2"]


def test_what_others_load_leaves_xgboost_whole():
    """A notebook with a registered model, and a cluster's worker with a trial, may use all of XGBoost besides."""
    for module in ("steps.models.served", "taxi.models.objective", "taxi.distributed.shared_fit"):
        assert "steps/xgboost_alone.py" not in closure(ROOT, module)
    code = "from taxi.models.objective import Objective; Objective('xgboost', 'full', 1).import_modules()"
    assert run_alone(f"{code}; import xgboost; print(xgboost.XGBRegressor().get_params()['n_estimators'])") == "None\n"
