"""Days on which fewer New Yorkers commute: known years ahead, so known when a taxi is booked.

Source: federal holidays (5 U.S.C. 6103), and the days beside them when the city is half empty.
"""

from functools import lru_cache

import numpy as np

FIXED = ((1, 1), (6, 19), (7, 4), (11, 11), (12, 25))  # month, day; kept on the nearest weekday too
EVES = ((12, 24), (12, 31))
MOVING = ((1, 0, 3), (2, 0, 3), (5, 0, -1), (9, 0, 1), (10, 0, 2), (11, 3, 4))  # month, weekday (Monday = 0), which
JUNETEENTH_SINCE = 2021


def is_holiday(days: np.ndarray) -> np.ndarray:
    """Which of `days`, int64 of shape (n,) counted from 1970, are holidays; bool of shape (n,)."""
    if len(days) == 1:  # one trip, served
        return np.array([_is_one(int(days[0]))])
    distinct, where = np.unique(days, return_inverse=True)
    return np.fromiter(map(_is_one, distinct.tolist()), bool, len(distinct))[where]


@lru_cache(maxsize=4096)
def _is_one(day: int) -> bool:
    return day in holidays(int(np.datetime64(day, "D").astype("datetime64[Y]").astype(np.int64)) + 1970)


@lru_cache(maxsize=1024)
def holidays(year: int) -> frozenset[int]:
    """Days counted from 1970."""
    days = {_day(year, month, day) for month, day in EVES}
    for month, day in FIXED:
        if (month, day) != (6, 19) or year >= JUNETEENTH_SINCE:
            legal = _day(year, month, day)
            days |= {legal, legal + {5: -1, 6: 1}.get(_weekday(legal), 0)}  # Friday for a Saturday, Monday for a Sunday
    days |= {_nth(year, *rule) for rule in MOVING}
    days.add(_nth(year, *MOVING[-1]) + 1)  # the Friday after Thanksgiving
    return frozenset(days)


def _nth(year: int, month: int, weekday: int, which: int) -> int:
    """The `which`-th such weekday of the month, -1 = the last."""
    if which < 0:
        last = _day(year + month // 12, month % 12 + 1, 1) - 1
        return last - (_weekday(last) - weekday) % 7
    first = _day(year, month, 1)
    return first + (weekday - _weekday(first)) % 7 + 7 * (which - 1)


def _weekday(day: int) -> int:
    return (day + 3) % 7  # 1970 began on a Thursday


def _day(year: int, month: int, day: int) -> int:
    return int(np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "D").astype(np.int64))
