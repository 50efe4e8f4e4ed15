"""A model's file from somebody else is looked through before native code reads it: nothing in it crashes a process."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from taxi.models import one_hot, xgboost_file
from taxi.models.families import FAMILIES, ModelError, load
from tests.support.fitted_models import FORMS, SMALL, fitted
from tests.support.project import ROOT
from tests.support.ubjson import dumps


@pytest.mark.parametrize(("family", "least"), [("xgboost", 300), ("random_forest", 60)])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_an_altered_model_is_refused_or_answers_and_never_crashes(family, least, seed, tmp_path):
    """Each index, count, length and type in its file, truncations and flipped bytes: by the hundred."""
    fitted(family).save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", FORMS["dense"][1].X)
    command = [
        sys.executable,
        "-m",
        "tests.support.altered_models",
        family,
        tmp_path / "model",
        tmp_path / "rows.npy",
        str(seed),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"exit {done.returncode} at: {done.stderr.splitlines()[-12:]}"
    counts = json.loads(done.stdout)
    assert sum(counts.values()) >= least
    assert counts["refused"] > counts["answered"] > 0  # some alter nothing that matters


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("params", [{"gamma": 50.0}, {"max_cat_to_onehot": 1, "max_depth": 6}, {"n_estimators": 1}])
def test_what_we_fit_passes_in_milliseconds(form, params, tmp_path):
    """Trees pruned, splits on sets of codes, a single tree; with and without a validation split."""
    train, val = FORMS[form]
    for number, against in enumerate((val, None)):
        family = FAMILIES["xgboost"]
        estimator = family.fit(train, against, family.parse({**SMALL["xgboost"], **params}), seed=7)
        estimator.save(tmp_path / str(number))
        raw = (tmp_path / str(number) / "model.ubj").read_bytes()
        began = time.process_time()
        xgboost_file.check(raw, len(one_hot.groups(estimator.columns)[0]), estimator.params.max_depth,
                           estimator.best_iteration + 1)  # fmt: skip
        assert time.process_time() - began < 0.5  # seen: 16 ms for 141 trees
        assert load("xgboost", tmp_path / str(number)).predict(val.X).tobytes() == estimator.predict(val.X).tobytes()


def test_the_reader_reads_what_xgboost_wrote(tmp_path):
    """Written again it loads again, to the same answers; so no forgery is refused for the writer's sake."""
    estimator, X = fitted("xgboost"), FORMS["dense"][1].X
    estimator.save(tmp_path)
    path = tmp_path / "model.ubj"
    path.write_bytes(dumps(xgboost_file._Reader(path.read_bytes()).whole()))
    assert load("xgboost", tmp_path).predict(X).tobytes() == estimator.predict(X).tobytes()


def test_a_refusal_names_the_file_and_what_is_wrong(tmp_path):
    """One line, of a tree and its fault."""
    fitted("xgboost").save(tmp_path)
    path = tmp_path / "model.ubj"
    model = xgboost_file._Reader(path.read_bytes()).whole()
    tree = model["learner"]["gradient_booster"]["model"]["trees"][3]
    tree["left_children"] = tree["left_children"].copy()
    tree["left_children"][0] = 10**6
    path.write_bytes(dumps(model))
    with pytest.raises(ModelError, match=r"model.ubj is not a saved XGBoost model \(.*tree 3: a child is no node\)"):
        load("xgboost", tmp_path)
