"""Items made in the background, a few ahead of those who use them."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
DEPTH = 2  # items made and not yet used, at most


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, none of them None, made by another thread while the caller uses the last one.

    What making one raises is raised here, in its place.
    """
    made = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        waiting = deque(thread.submit(next, made, None) for _ in range(DEPTH))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, made, None))
            yield item
