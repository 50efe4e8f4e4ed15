"""A curve of a fit, round by round, in few points."""

from collections.abc import Sequence

Curve = list[tuple[int, float]]  # (round, value); rounds count from 1

TRIAL_POINTS = 25  # of each curve of a trial: a search writes them while others wait for their turn
FIT_POINTS = 100  # of each curve of a fit by itself


def thinned(values: Sequence[float], best: int, most: int) -> Curve:
    """At most `most` points of a curve that has a value each round, 3 or more, evenly spread over all rounds.

    The first round, the last and the one of index `best` are among them.
    """
    last = len(values) - 1
    kept = set(range(len(values)))
    if len(values) > most:
        kept = {round(place * last / (most - 1)) for place in range(most)}
        if best not in kept:
            kept.remove(min(kept - {0, last}, key=lambda index: abs(index - best)))
            kept.add(best)
    return [(index + 1, float(values[index])) for index in sorted(kept)]
