"""Model families: parameters, search spaces, fits that can be repeated to the last bit, models saved as data."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skops.io
from scipy import sparse

from taxi.dataset.split import Split
from taxi.models.families import FAMILIES, ModelError, ParamsError, TrialTimeout, load, read_family
from tests.support.fitted_models import FORMS, SMALL, dense, fitted
from tests.support.project import ROOT

EVERY = [(family, form) for family in FAMILIES for form in FORMS]


def digest(estimator, folder) -> str:
    estimator.save(folder)
    parts = [path.name.encode() + path.read_bytes() for path in sorted(Path(folder).iterdir())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize(("family", "form"), EVERY)
def test_every_family_learns_from_every_form(family, form):
    """Better than half of what the mean of the durations misses, on rows it has not seen, NaN or not."""
    val = FORMS[form][1]
    predicted = fitted(family, form).predict(val.X)
    assert predicted.shape == val.y.shape and predicted.dtype == np.float64
    assert np.mean((predicted - val.y) ** 2) < 0.5 * np.var(val.y)


@pytest.mark.parametrize(("family", "form"), EVERY)
def test_a_saved_model_answers_to_the_last_bit(family, form, tmp_path):
    """Loaded again, and asked row by row: sums do not depend on the rows beside."""
    estimator, X = fitted(family, form), FORMS[form][1].X
    estimator.save(tmp_path)
    loaded = load(read_family(tmp_path), tmp_path)
    expected = estimator.predict(X)
    assert loaded.predict(X).tobytes() == expected.tobytes()
    assert np.concatenate([loaded.predict(X[row : row + 1]) for row in range(50)]).tobytes() == expected[:50].tobytes()
    assert (loaded.params, loaded.columns, loaded.best_iteration) == (
        estimator.params, estimator.columns, estimator.best_iteration
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_fit_gives_the_same_bytes(family, tmp_path):
    """Again, with two threads, with a deadline, and saved again after it was loaded."""
    first = digest(fitted(family), tmp_path / "1")
    assert digest(fitted(family, threads=2), tmp_path / "2") == first
    assert digest(fitted(family, deadline=time.monotonic() + 60), tmp_path / "3") == first
    assert digest(load(family, tmp_path / "1"), tmp_path / "4") == first


def test_a_boosted_model_needs_no_package_that_it_does_not_require(tmp_path):
    """Where it is served there is no scikit-learn and no skops: they are not among its requirements."""
    fitted("xgboost").save(tmp_path / "model")
    script = (
        "import sys; from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(['sklearn', 'skops', 'hyperopt', 'mlflow', 'matplotlib']))\n"
        "import taxi.models.predictor; from taxi.models.families import load, read_family\n"
        "print(load(read_family(Path(sys.argv[1])), Path(sys.argv[1])).family)"
    )
    command = [sys.executable, "-c", script, tmp_path / "model"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout.strip() == "xgboost", done.stderr


def test_another_process_gives_the_same_bytes(tmp_path):
    """Other addresses, another hash seed, another time of day."""
    script = (
        "import sys; from pathlib import Path; from tests.taxi.models.test_models import FAMILIES, digest; "
        "from tests.support.fitted_models import fitted\n"
        "print([digest(fitted(family), Path(sys.argv[1]) / family) for family in FAMILIES])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    there = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there"], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    here = [digest(fitted(family), tmp_path / "here" / family) for family in FAMILIES]
    assert there.stdout.strip() == str(here), there.stderr


@pytest.mark.parametrize("family", ["random_forest", "xgboost"])
def test_another_seed_gives_another_model(family, tmp_path):
    """The seed reaches the fit."""
    train, val = FORMS["dense"]
    params = FAMILIES[family].parse(SMALL[family])
    seeds = [digest(FAMILIES[family].fit(train, val, params, seed), tmp_path / str(seed)) for seed in (1, 2)]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_ends_at_its_deadline(family):
    """From within: what runs elsewhere cannot be stopped from outside."""
    with pytest.raises(TrialTimeout, match="over its deadline"):
        fitted(family, deadline=time.monotonic() - 1)


def test_boosting_stops_where_validation_is_best():
    """Rounds kept are those up to the best; fitting as many without validation gives the same model."""
    train, val = FORMS["dense"]
    family = FAMILIES["xgboost"]
    stopped = family.fit(train, val, family.parse({"n_estimators": 2000, "learning_rate": 0.5}), 42)
    assert stopped.params.n_estimators == stopped.best_iteration + 1 < 500
    assert stopped.booster.num_boosted_rounds() == stopped.params.n_estimators
    again = family.fit(train, None, stopped.params, 42)
    assert again.predict(val.X).tobytes() == stopped.predict(val.X).tobytes()


def test_boosting_has_its_error_by_round_on_both_splits():
    """The lowest on validation is the model's own error; ten rounds later the fit ended. A loaded model has none."""
    train, val = FORMS["dense"]
    params = FAMILIES["xgboost"].parse({"max_depth": 3, "early_stopping_rounds": 10})
    estimator = FAMILIES["xgboost"].fit(train, val, params, seed=42)
    best = estimator.best_iteration
    assert set(estimator.curves) == {"train_rmse", "val_rmse"}
    assert {len(values) for values in estimator.curves.values()} == {best + 11}
    assert min(estimator.curves["val_rmse"]) == estimator.curves["val_rmse"][best]
    for name, split in (("train", train), ("val", val)):
        rmse = np.mean((estimator.predict(split.X) - split.y) ** 2) ** 0.5
        assert estimator.curves[f"{name}_rmse"][best] == pytest.approx(rmse, rel=1e-6)


@pytest.mark.parametrize("early_stopping_rounds", [0, 5])
def test_looking_at_a_fit_changes_no_byte_of_it(early_stopping_rounds, tmp_path):
    """Fitted without validation for as many rounds it is the same model, and has no curve."""
    train, val = FORMS["dense"]
    watched = {"max_depth": 3, "n_estimators": 30, "subsample": 0.7, "early_stopping_rounds": early_stopping_rounds}
    family = FAMILIES["xgboost"]
    looked_at = family.fit(train, val, family.parse(watched), seed=42)
    alone = family.fit(train, None, looked_at.params, seed=42)
    assert looked_at.curves and not alone.curves
    assert digest(looked_at, tmp_path / "a") == digest(alone, tmp_path / "b")


def test_trials_on_other_splits_do_not_share_what_is_remembered(tmp_path):
    """The binned matrices kept for the next trial belong to these two splits and these bins."""
    train, val = dense(600, 1), dense(200, 2)
    family = FAMILIES["xgboost"]
    coarse, fine = (family.parse({**SMALL["xgboost"], "max_bin": bins}) for bins in (4, 256))
    expected = digest(family.fit(dense(600, 1), dense(200, 3), fine, 42), tmp_path / "expected")
    family.fit(train, val, coarse, 42)
    family.fit(train, val, fine, 42)
    assert digest(family.fit(train, dense(200, 3), fine, 42), tmp_path / "found") == expected


def test_a_split_travels_without_what_is_remembered():
    """A binned matrix cannot be sent to another process, and need not be."""
    train, val = dense(600, 1), dense(200, 2)
    FAMILIES["xgboost"].fit(train, val, FAMILIES["xgboost"].parse(SMALL["xgboost"]), 42)
    sent = pickle.loads(pickle.dumps(train))  # noqa: S301 - our own bytes
    assert train.memo and not sent.memo and sent.y.tolist() == train.y.tolist()


def test_codes_are_not_numbers_for_a_line():
    """Zone 8 is not eight times zone 1: a linear model leaves codes out."""
    assert set(fitted("linear").importance()) == {"miles", "noise"}


@pytest.mark.parametrize(("family", "form"), EVERY)
def test_importance_are_shares_largest_first(family, form):
    """Of 1; the miles matter most, and each column is named once."""
    found = fitted(family, form).importance()
    shares = list(found.values())
    assert sum(shares) == pytest.approx(1.0) and shares == sorted(shares, reverse=True)
    if form == "dense":
        assert next(iter(found)) == "miles"


def test_boosting_takes_one_hot_columns_together():
    """13,000 sparse columns took a hundred times longer than one of codes; a row without any is missing."""
    found = fitted("xgboost", "one-hot")
    assert set(found.importance()) == {"PU_DO", "trip_distance"}
    unseen = sparse.csr_matrix(([2.0], ([0], [5])), shape=(1, 6))
    assert 3 < found.predict(unseen)[0] < 20


WRONG = [
    ("xgboost", {"max_dept": 3}, "xgboost has no parameter max_dept; it has n_estimators, early_stopping_rounds, "),
    ("xgboost", {"max_depth": 3.5}, "xgboost: max_depth=3.5 is not a whole number from 1 to 20"),
    ("xgboost", {"max_depth": "3"}, "xgboost: max_depth='3' is not a whole number from 1 to 20"),
    ("xgboost", {"subsample": 1.5}, "xgboost: subsample=1.5 is not a number from 0.05 to 1"),
    ("xgboost", {"subsample": float("nan")}, "xgboost: subsample=nan is not a number from 0.05 to 1"),
    ("random_forest", {"max_depth": True}, "random_forest: max_depth=True is not a whole number from 1 to 64"),
    ("random_forest", {"n_estimators": 0}, "random_forest: n_estimators=0 is not a whole number from 1 to 5000"),
    ("linear", {"alpha": None}, "linear: alpha=None is not a number from 0 to 1e+09"),
]


@pytest.mark.parametrize(("family", "given", "error"), WRONG)
def test_wrong_parameters_are_refused(family, given, error):
    """With the name, the value and what is allowed."""
    with pytest.raises(ParamsError) as raised:
        FAMILIES[family].parse(given)
    assert str(raised.value).startswith(error)


def test_what_tpe_suggests_is_taken():
    """Whole numbers come as floats, and the rest are the defaults of the features."""
    params = FAMILIES["random_forest"].parse({"max_depth": 12.0, "max_features": 1}, "course")
    assert params.max_depth == 12 and type(params.max_depth) is int and type(params.max_features) is float
    assert params.n_estimators == FAMILIES["random_forest"].default_params("course").n_estimators


@pytest.mark.parametrize("features", ["course", "full", "pickup"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_point_of_a_space_is_a_parameter(family, features):
    """Fifty draws: each within its row's ends and taken by `parse`."""
    from hyperopt.pyll.stochastic import sample

    rows = {row.name: row for row in FAMILIES[family].space_rows(features)}
    space = FAMILIES[family].space(features)
    assert list(space) == list(rows)
    for draw in range(50):
        point = sample(space, rng=np.random.default_rng(draw))
        FAMILIES[family].parse(point, features)
        assert all(
            rows[name].low * (1 - 1e-9) <= value <= rows[name].high * (1 + 1e-9) for name, value in point.items()
        )


def test_the_published_search_begins_with_these_trials():
    """The course's space, drawn as hyperopt's `fmin` draws with default_rng(42): the published run's first three."""
    from hyperopt import Trials, fmin, rand

    seen = []
    fmin(lambda point: seen.append(point) or 1.0, FAMILIES["random_forest"].space("course"), algo=rand.suggest,
         max_evals=3, trials=Trials(), rstate=np.random.default_rng(42), show_progressbar=False)  # fmt: skip
    assert [tuple(int(point[name]) for name in ("max_depth", "n_estimators", "min_samples_split", "min_samples_leaf"))
            for point in seen] == [(13, 43, 7, 4), (2, 22, 7, 4), (4, 16, 3, 3)]  # fmt: skip


class Bomb:
    """Leaves a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def _pickled(folder):
    for file in folder.iterdir():
        if file.name != "model.json":
            file.write_bytes(pickle.dumps(Bomb()))


BROKEN = {
    "a pickle": _pickled,
    "cut short": lambda f: [p.write_bytes(p.read_bytes()[:40]) for p in f.iterdir() if p.name != "model.json"],
    "no model": lambda f: [p.unlink() for p in f.iterdir() if p.name != "model.json"],
    "no description": lambda f: (f / "model.json").unlink(),
    "half a description": lambda f: (f / "model.json").write_text("{"),
    "another family": lambda f: (f / "model.json").write_text(json.dumps({"family": "magic"})),
    "a list": lambda f: (f / "model.json").write_text("[]"),
    "nothing but a family": lambda f: (f / "model.json").write_text(json.dumps({"family": read_family(f)})),
    "strange parameters": lambda f: (f / "model.json").write_text(
        json.dumps(json.loads((f / "model.json").read_text()) | {"params": {"depth": 3}})
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("damage", BROKEN)
def test_what_is_no_saved_model_is_refused(family, damage, tmp_path, monkeypatch):
    """One error, and nothing is ever unpickled."""
    monkeypatch.chdir(tmp_path)
    fitted(family).save(tmp_path / "model")
    BROKEN[damage](tmp_path / "model")
    with pytest.raises(ModelError):
        load(family, tmp_path / "model")
    assert not Path("exploded").exists()


def test_types_that_a_model_never_has_are_refused(tmp_path):
    """skops builds what a file names: only trees beside its own trusted types."""
    fitted("random_forest").save(tmp_path)
    skops.io.dump({"model": Split}, tmp_path / "model.skops")
    with pytest.raises(ModelError, match=r"refused: .*taxi\.dataset\.split\.Split"):
        load("random_forest", tmp_path)


def test_a_model_of_another_family_is_told_apart(tmp_path):
    """By what it says of itself, before it is read."""
    fitted("linear").save(tmp_path)
    assert read_family(tmp_path) == "linear"
    with pytest.raises(ModelError, match="holds a linear model, not a random_forest one"):
        load("random_forest", tmp_path)


def test_the_published_linear_regression(tlc, tmp_path):
    """Green 2021-01 and 2021-02 with the course's features: validation RMSE 7.7587 minutes."""
    from taxi.dataset.dataset import Dataset, build
    from taxi.evaluation.metrics import metrics
    from taxi.features.fitting import FEATURE_SETS
    from taxi.months.month import Month, file_name

    def month(name: str) -> Month:
        return Month("green", name, tlc / file_name("green", name), "", "")

    build({"train": [month("2021-01")], "val": [month("2021-02")]}, FEATURE_SETS["course"], tmp_path)
    dataset = Dataset.open(tmp_path)
    train, val = dataset.load("train"), dataset.load("val")
    assert (len(train), len(val)) == (73_908, 61_921)
    estimator = FAMILIES["linear"].fit(train, val, FAMILIES["linear"].default_params("course"), 42)
    assert metrics(val.y, estimator.predict(val.X), "val")["val_rmse"] == pytest.approx(7.758715, abs=1e-6)


@pytest.mark.parametrize("family", ["random_forest", "xgboost"])
def test_progress_is_told_and_changes_nothing(family, tmp_path):
    """Rounds or trees done, ever more of at most as many as were asked for; the same bytes as without."""
    told = []
    train, val = FORMS["dense"]
    params = FAMILIES[family].parse(SMALL[family])
    watched = FAMILIES[family].fit(train, val, params, 42, progress=lambda done, total: told.append((done, total)))
    alone = FAMILIES[family].fit(train, val, params, 42)
    assert digest(watched, tmp_path / "watched") == digest(alone, tmp_path / "alone")
    assert [done for done, _ in told] == sorted({done for done, _ in told}) and told[-1][0] <= told[-1][1]
    assert {total for _, total in told} == {SMALL[family]["n_estimators"]}
