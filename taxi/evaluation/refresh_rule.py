"""The refresh rule: decide from months, digests and drift whether a model is trained anew, on which months, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class WindowError(ValueError):
    """A source has fewer months than a window needs."""


@dataclass(frozen=True)
class Lengths:
    """How many months a window has, by split."""

    train: int = 1
    val: int = 1
    test: int = 1

    @property
    def total(self) -> int:
        """Months of the whole window."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class Window:
    """The months of each split: the oldest are trained on, the newest judge."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(cls, months: Sequence[str], lengths: Lengths) -> Window:
        """The newest of `months`, which are sorted. Raises WindowError."""
        if len(months) < lengths.total:
            has = ", ".join(months) or "none"
            raise WindowError(
                f"a window of {lengths.train} + {lengths.val} + {lengths.test} months needs {lengths.total}, and the "
                f"source has {len(months)} that can be used: {has}\n"
                " Add months to the source, or give a smaller -P train_window=, val_window= or test_window=."
            )
        months = tuple(months[-lengths.total :])
        return cls(
            months[: lengths.train], months[lengths.train : lengths.train + lengths.val], months[-lengths.test :]
        )

    def params(self) -> dict[str, str]:
        """The window as parameters of `main`."""
        return {f"{split}_months": ",".join(months) for split, months in vars(self).items()}

    def __str__(self) -> str:
        return ", ".join(f"{split} {' '.join(months)}" for split, months in vars(self).items())


@dataclass(frozen=True)
class News:
    """What a source has that the champion was not made of.

    newest: the months that a window may have, sorted. new: those of them that the champion does not know, none older
    than its own. moved: months of the champion whose content is another now. gone: those that cannot be compared.
    """

    newest: tuple[str, ...]
    new: tuple[str, ...]
    moved: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether no month is new and none moved."""
        return not self.new and not self.moved


def news(made_of: Mapping[str, str], there: Mapping[str, str], lengths: Lengths) -> News:
    """`made_of`: month -> digest, of the champion. `there`: the same, of the months of the source that can be used."""
    newest = tuple(sorted(there)[-lengths.total :])
    oldest = min(made_of)
    return News(
        newest,
        new=tuple(month for month in newest if month not in made_of and month > oldest),
        moved=tuple(sorted(month for month in made_of if there.get(month, made_of[month]) != made_of[month])),
        gone=tuple(sorted(made_of.keys() - there.keys())),
    )


@dataclass(frozen=True)
class RefreshDecision:
    """Whether to train anew, and why in one sentence."""

    retrain: bool
    reason: str

    @property
    def word(self) -> str:
        """``retrain`` or ``keep``."""
        return "retrain" if self.retrain else "keep"


FIRST = RefreshDecision(True, "there is no champion yet")


def decide(found: News, change: float | None, limit: float) -> RefreshDecision:
    """`change`: per cent by which the champion's RMSE rose on the new months, None without any.

    `limit`: the per cent that it may rise; 0: every new month retrains.
    """
    new = ", ".join(found.new)
    risen = f"the champion's RMSE changed by {change:+.1f} % on {new}" if change is not None else ""
    if found.moved:
        changed = f"{', '.join(found.moved)} changed since the champion was made"
        return RefreshDecision(True, f"{changed}; {risen}" if risen else changed)
    if change is None:
        return RefreshDecision(False, "nothing is new")
    if limit == 0:
        return RefreshDecision(True, f"{risen}, and every new month retrains")
    if change > limit:
        return RefreshDecision(True, f"{risen}, more than the {limit:g} % allowed")
    return RefreshDecision(False, f"{risen}, within the {limit:g} % allowed")
