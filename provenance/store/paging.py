"""Read all results of an MLflow search, which sends them in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlflow.store.entities import PagedList

PAGE = 1000  # entries a page; the most that every search of MLflow allows

Found = TypeVar("Found")


def every(
    search: Callable[..., PagedList[Found]], *given: object, max_results: int = PAGE, **more: object
) -> Iterator[Found]:
    """Each entry that `search(*given, **more)` finds, the next page asked for when it is needed."""
    token = None
    while True:
        page = search(*given, max_results=max_results, page_token=token, **more)
        yield from page
        if not (token := page.token):
            return
