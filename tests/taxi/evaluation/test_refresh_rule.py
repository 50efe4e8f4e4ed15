"""When a champion is trained anew, and on which months: worked out by hand."""

import pytest

from taxi.evaluation.refresh_rule import Lengths, News, Window, WindowError, decide, news

CHAMPION = {"2023-01": "a", "2023-02": "b", "2023-03": "c"}
ONE_EACH = Lengths(1, 1, 1)


def test_nothing_is_new_where_the_source_has_what_the_champion_was_made_of():
    """Nor are months before its own, which a longer window would take."""
    found = news(CHAMPION, {**CHAMPION, "2022-12": "z"}, Lengths(2, 1, 1))
    assert found == News(("2022-12", "2023-01", "2023-02", "2023-03"), new=(), moved=(), gone=())
    assert found.nothing


def test_a_newer_month_is_new_and_moves_the_window():
    """The window is the newest months; the champion's oldest falls out."""
    found = news(CHAMPION, {**CHAMPION, "2023-04": "d"}, ONE_EACH)
    assert (found.newest, found.new, found.nothing) == (("2023-02", "2023-03", "2023-04"), ("2023-04",), False)
    assert Window.of(found.newest, ONE_EACH) == Window(("2023-02",), ("2023-03",), ("2023-04",))


def test_years_may_lie_between():
    """Only months that the window takes are looked at, however many appeared."""
    found = news(CHAMPION, {**CHAMPION, "2025-01": "d", "2025-02": "e", "2025-03": "f", "2025-04": "g"}, ONE_EACH)
    assert found.new == found.newest == ("2025-02", "2025-03", "2025-04")


def test_a_month_that_comes_late_is_new():
    """It was half published when its successor came."""
    found = news({"2022-12": "z", "2023-01": "a", "2023-03": "c"}, {"2022-12": "z", **CHAMPION}, ONE_EACH)
    assert found.new == ("2023-02",)


def test_a_month_with_another_digest_has_moved_and_one_that_is_absent_has_not():
    """What cannot be compared is no reason to train anew."""
    found = news(CHAMPION, {"2023-02": "other", "2023-03": "c"}, ONE_EACH)
    assert (found.new, found.moved, found.gone) == ((), ("2023-02",), ("2023-01",))


@pytest.mark.parametrize(
    ("change", "limit", "retrain"),
    [
        (5.0, 5.0, False),
        (5.1, 5.0, True),
        (-3.0, 5.0, False),
        (-3.0, 0.0, True),
        (None, 5.0, False),
        (None, 0.0, False),
    ],
)
def test_new_months_retrain_above_the_limit(change, limit, retrain):
    """The limit itself is allowed; 0 means every new month, and no month means no."""
    found = News(("2023-04",), new=("2023-04",) if change is not None else (), moved=(), gone=())
    assert decide(found, change, limit).retrain is retrain


def test_a_month_that_changed_retrains_whatever_the_drift():
    """The reason says both."""
    found = News(("2023-04",), new=("2023-04",), moved=("2023-02",), gone=())
    assert decide(found, -3.0, 5.0).reason == (
        "2023-02 changed since the champion was made; the champion's RMSE changed by -3.0 % on 2023-04"
    )
    assert decide(News((), (), ("2023-02",), ()), None, 5.0).retrain


def test_the_oldest_months_train_and_the_newest_judge():
    """By the lengths, as parameters of `main`."""
    months = [f"2023-{number:02}" for number in range(1, 8)]
    window = Window.of(months, Lengths(3, 2, 1))
    assert window.params() == {
        "train_months": "2023-02,2023-03,2023-04",
        "val_months": "2023-05,2023-06",
        "test_months": "2023-07",
    }


def test_too_few_months_are_one_clear_error():
    """With what helps."""
    with pytest.raises(WindowError, match=r"needs 3, and the source has 2 that can be used: 2023-01, 2023-02\n Add"):
        Window.of(["2023-01", "2023-02"], ONE_EACH)
