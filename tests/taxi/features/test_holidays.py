"""The calendar of New York, against days looked up by hand."""

import numpy as np
import pytest

from taxi.features.holidays import is_holiday


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(int))


@pytest.mark.parametrize(
    "text",
    [
        "2023-01-01",  # a Sunday
        "2023-01-02",  # kept for it
        "2023-01-16",  # Martin Luther King
        "2021-02-15",  # Presidents' Day
        "2022-05-30",  # Memorial Day, the last Monday of five
        "2023-05-29",
        "2021-06-18",  # Juneteenth on a Saturday, kept on Friday
        "2024-07-04",
        "2023-09-04",  # Labor Day
        "2022-11-24",  # Thanksgiving
        "2022-11-25",  # and the Friday after it
        "2023-12-24",
        "2021-12-31",
    ],
)
def test_a_holiday_is_one(text):
    """Fixed dates, the days they are kept on, and Mondays and Thursdays of the month."""
    assert is_holiday(np.array([day(text)])).tolist() == [True]


@pytest.mark.parametrize("text", ["2023-01-03", "2023-02-14", "2019-06-19", "2023-05-22", "2023-11-30", "2024-12-23"])
def test_a_working_day_is_none(text):
    """Nor is Juneteenth before it was a holiday."""
    assert is_holiday(np.array([day(text)])).tolist() == [False]


def test_days_of_several_years_keep_their_order():
    """The answer is by row, not by distinct day."""
    days = np.array([day("2023-02-20"), day("2023-02-21"), day("2021-02-15"), day("2023-02-20"), day("1999-12-31")])
    assert is_holiday(days).tolist() == [True, False, True, True, True]
    assert [is_holiday(days[row : row + 1]).tolist() for row in range(5)] == [[True], [False], [True], [True], [True]]
    assert is_holiday(np.array([], np.int64)).tolist() == []
