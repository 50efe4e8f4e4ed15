"""Curves of a fit by round, reduced to few points."""

from collections.abc import Sequence

Curve = list[tuple[int, float]]  # (round, value); rounds count from 1

TRIAL_POINTS = 25  # points of each curve of a trial; few, because the search waits while they are written
FIT_POINTS = 100  # points of each curve of a single fit


def thinned(values: Sequence[float], best: int, most: int) -> Curve:
    """At most `most` points of a curve, evenly spread over its rounds.

    values: one value for each round. best: index of the best round. most: 3 or more.
    The first round, the last round and the best round are among the points.
    """
    last = len(values) - 1
    kept = set(range(len(values)))
    if len(values) > most:
        kept = {round(place * last / (most - 1)) for place in range(most)}
        if best not in kept:
            kept.remove(min(kept - {0, last}, key=lambda index: abs(index - best)))
            kept.add(best)
    return [(index + 1, float(values[index])) for index in sorted(kept)]
