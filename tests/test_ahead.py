"""Items made in the background."""

import threading

import pytest

from taxi.ahead import DEPTH, ahead


def test_items_keep_their_order_and_are_made_elsewhere():
    """By one other thread, so that a generator is never entered twice."""
    made = list(ahead((number, threading.current_thread().name) for number in range(50)))
    assert [number for number, _ in made] == list(range(50))
    assert {name for _, name in made} == {"ahead_0"}


def test_an_error_comes_where_its_item_would():
    """What came before it is used first."""

    def items():
        yield 1
        yield 2
        raise ValueError("third")

    seen = []
    with pytest.raises(ValueError, match="third"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == [1, 2]


def test_no_more_is_made_than_a_few_items():
    """Memory: the maker waits for those who use."""
    made = []
    items = ahead(made.append(number) or number for number in range(100))
    next(items)
    items.close()
    assert len(made) <= DEPTH + 1
