"""Models of trials that are files of JSON: what a stranger may have put there."""

import json
from pathlib import Path

import pandas as pd
import pytest

from provenance.pipeline.declaration import Metric
from provenance.registry.file_models import FileModels
from provenance.registry.logged_model import ModelSource
from search.file_objective import FileObjective
from search.trial import TrialResult

ACCURACY = Metric("val_accuracy", greater_is_better=True)


def fit(folder, params):
    return {"model.json": json.dumps({"score": params["C"]}).encode()}


def score(files, folder):
    return {ACCURACY.name: float(json.loads(files["model.json"])["score"])}


FORGED = {
    "JSON without end": b"[" * 100_000,
    "no JSON": b"\x80\x04",
    "another form": b"[]",
    "no number": b'{"score": "high"}',
    "nothing": b"",
    "another score": b'{"score": 0.9}',
}


@pytest.mark.parametrize("forged", FORGED)
def test_files_that_are_no_such_model_are_not_believed(forged, tmp_path):
    """And end no search."""
    source = ModelSource(tmp_path, "steps.served", (), (), "classifier")
    models = FileModels(source, Path(tmp_path), FileObjective(fit, score, ACCURACY), pd.DataFrame(), lambda files, X: X)
    result = models.fit_again(TrialResult(0, {"C": 0.5}, "ok"))
    assert models.verify(result, result.files)
    assert not models.verify(result, {"model.json": FORGED[forged]})
