"""Prediction intervals: what they promise, what they are made of, and that they travel inside the model."""

import json

import numpy as np
import pyarrow as pa
import pytest

from taxi.dataset.dataset import Dataset, build
from taxi.features.fitting import FEATURE_SETS
from taxi.models.families import FAMILIES
from taxi.models.intervals import BINS, IntervalError, Intervals, coverage
from taxi.models.predictor import Predictor, PredictorError


def trips(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted minutes: errors of a tenth of the prediction, the late ones twice as large."""
    rng = np.random.default_rng(seed)
    predicted = rng.gamma(4, 4, rows) + 2
    error = rng.normal(0, 0.1, rows)
    return predicted * (1 + np.where(error > 0, 2 * error, error)), predicted


def test_three_trips_by_hand():
    """One bin; with so few trips the ends are the largest errors seen on either side."""
    found = Intervals.learn(y=np.array([9.0, 13.0, 20.0]), predicted=np.array([10.0, 12.0, 15.0]))
    assert (found.edges, found.below, found.above) == ((), (-1.0,), (5.0,))
    low, high = found.bounds(np.array([10.0, 1.5]))
    assert low.tolist() == [9.0, 1.0]  # no trip is shorter than a minute
    assert high.tolist() == [15.0, 6.5]


def test_the_ends_are_the_twentieths_of_the_errors():
    """Of 199 trips, the next one counted in, 5 % is ten: the tenth smallest and the tenth largest error."""
    predicted = np.full(199, 10.0)
    found = Intervals.learn(predicted + np.arange(-99, 100), predicted)
    assert (found.below, found.above) == ((-90.0,), (90.0,))


def test_the_prediction_is_inside_even_when_every_error_has_one_sign():
    """An interval beside its own prediction would be absurd."""
    predicted = np.full(300, 10.0)
    low, high = Intervals.learn(predicted + 3, predicted).bounds(predicted)
    assert (low[0], high[0]) == (10.0, 13.0)
    low, _ = Intervals.learn(predicted + 3, predicted).bounds(np.array([0.2]))
    assert low[0] == 0.2


def test_nine_in_ten_new_trips_are_inside_short_and_long_ones_alike():
    """Of other trips of the same kind; long trips have wider intervals."""
    found = Intervals.learn(*trips(20_000, 1))
    y, predicted = trips(20_000, 2)
    low, high = found.bounds(predicted)
    assert coverage(y, low, high) == pytest.approx(0.9, abs=0.01)
    longest = predicted > np.quantile(predicted, 0.9)
    for part in (longest, predicted < np.quantile(predicted, 0.1)):
        assert coverage(y[part], low[part], high[part]) == pytest.approx(0.9, abs=0.025)
    assert np.mean((high - low)[longest]) > 2 * np.mean((high - low)[~longest])


def test_predictions_that_are_all_the_same_have_one_bin():
    """No bin is empty, whatever ties there are."""
    y, _ = trips(5_000, 3)
    assert Intervals.learn(y, np.full(5_000, 12.0)).edges == ()
    assert len(Intervals.learn(y, np.round(trips(5_000, 3)[1])).edges) < BINS


def test_saved_intervals_are_the_same(tmp_path):
    """Every bit, and the same bytes when saved again."""
    found = Intervals.learn(*trips(5_000, 4))
    found.save(tmp_path / "a.json")
    assert Intervals.load(tmp_path / "a.json") == found
    Intervals.load(tmp_path / "a.json").save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


BROKEN = {
    "no JSON": "{",
    "a list": "[]",
    "another version": '{"schema": 2}',
    "no ends": '{"schema": 1, "level": 0.9, "rows": 3, "edges": []}',
    "ends that are no numbers": '{"schema": 1, "level": 0.9, "rows": 3, "edges": [], "below": ["x"], "above": [1]}',
    "fewer ends than bins": '{"schema": 1, "level": 0.9, "rows": 3, "edges": [4], "below": [0], "above": [1]}',
}


@pytest.mark.parametrize("damage", BROKEN)
def test_what_is_no_intervals_is_refused(damage, tmp_path):
    """One error that names the file."""
    (tmp_path / "intervals.json").write_text(BROKEN[damage])
    with pytest.raises(IntervalError, match=r"intervals\.json"):
        Intervals.load(tmp_path / "intervals.json")


@pytest.fixture
def dataset(month_of, tiny_trips, tmp_path):
    """Twelve trips of January to train on, and the same twelve to validate."""
    splits = {"train": [month_of(tiny_trips)], "val": [month_of(tiny_trips, "2023-02")]}
    build(splits, FEATURE_SETS["course"], tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def predictor(dataset: Dataset, intervals: bool) -> Predictor:
    train = dataset.load("train")
    estimator = FAMILIES["linear"].fit(train, None, FAMILIES["linear"].default_params("course"), 42)
    learned = Intervals.learn(train.y + 1, estimator.predict(train.X)) if intervals else None
    return Predictor("green", dataset.features, estimator, learned)


def test_a_predictor_carries_its_intervals(dataset, tmp_path, tiny_trips):
    """Loaded again it gives the same columns; the duration is `predict`'s, bit for bit."""
    made = predictor(dataset, intervals=True)
    made.save(tmp_path / "predictor")
    loaded = Predictor.load(tmp_path / "predictor")
    raw = tiny_trips.to_pandas()
    answer = loaded.answer(raw)
    assert list(answer) == ["duration", "duration_low", "duration_high", "note"]
    assert answer["duration"].tobytes() == made.predict(raw).tobytes() == loaded.predict(raw).tobytes()
    assert all(answer["duration_low"] <= answer["duration"])
    assert all(answer["duration"] <= answer["duration_high"])


def test_a_predictor_without_intervals_gives_durations_alone(dataset, tmp_path, tiny_trips):
    """A candidate of a search: nothing is invented."""
    predictor(dataset, intervals=False).save(tmp_path / "predictor")
    assert sorted(path.name for path in (tmp_path / "predictor").iterdir()) == [
        "estimator", "features", "predictor.json"
    ]  # fmt: skip
    assert list(Predictor.load(tmp_path / "predictor").answer(tiny_trips.to_pandas())) == ["duration", "note"]


def test_valid_trips_in_batches_are_answered_as_raw_ones(dataset):
    """The stream of a dataset, whatever it is cut into, and the estimator on the whole split: the same bits."""
    made = predictor(dataset, intervals=False)
    expected = made.estimator.predict(dataset.load("train").X)
    assert made.predict_valid(dataset.batches("train")).tobytes() == expected.tobytes()
    assert made.predict_valid(dataset.batches("train", rows=2)).tobytes() == expected.tobytes()
    frame = pa.Table.from_batches(dataset.batches("train")).to_pandas()
    assert made.predict(frame).tobytes() == expected.tobytes()


def test_a_model_whose_intervals_were_altered_is_refused(dataset, tmp_path):
    """Not answered without them."""
    predictor(dataset, intervals=True).save(tmp_path / "predictor")
    path = tmp_path / "predictor" / "intervals.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "above": []}))
    with pytest.raises((IntervalError, PredictorError)):
        Predictor.load(tmp_path / "predictor")
