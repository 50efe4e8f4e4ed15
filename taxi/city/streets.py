"""A city to drive in: zones on two sides of a river, streets, bridges, a park, and traffic that comes and goes.

Nothing here knows of trips or of models. Times come from routes: each street has a length, a free speed and the
traffic of the hour, and a driver takes the fastest way. Everything follows from `SEED`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SEED = 1811  # the year of the street plan; another seed is another city
CITY_ZONES = 80  # in use, of TLC's 265: enough for pairs that a month of 20,000 trips never sees
WIDTH, HEIGHT = 9.0, 11.0  # miles
RIVER = 5.2  # miles from the west; crossed by bridges only
BRIDGES = (2.0, 4.6, 6.1, 9.0)  # miles from the south
CENTRE = np.array([3.4, 4.8])  # miles; where streets are dense and slow
PARK = (np.array([2.6, 7.3]), np.array([0.7, 1.5]))  # middle and half axes of an ellipse, miles; no street crosses it
NEIGHBOURS = 6  # streets from each zone
DAYS = ("working day", "Friday", "Saturday", "Sunday")
DAY_KIND = np.array([0, 0, 0, 0, 1, 2, 3])  # of Monday..Sunday


@dataclass(frozen=True)
class City:
    """What a trip needs to know. Slices are 24 hours of each of `DAYS`, in that order."""

    zone_ids: np.ndarray  # int (n_zones,), TLC's numbering, ascending
    position: np.ndarray  # float (n_zones, 2), miles
    centrality: np.ndarray  # float (n_zones,), 1 at the centre, towards 0 at the edge
    minutes: np.ndarray  # float32 (n_slices, n_zones, n_zones), driving from zone to zone at the full hour
    miles: np.ndarray  # float32, the same shape, along that route


@lru_cache(maxsize=1)
def city() -> City:
    """The city; a second's work, once in a process."""
    rng = np.random.default_rng(SEED)
    zone_ids = np.sort(rng.choice(np.arange(1, 264), CITY_ZONES, replace=False))  # 264 and 265 are "unknown"
    position = _spread(rng)
    streets = _streets(position)
    minutes, miles = [], []
    for day in range(len(DAYS)):
        for hour in range(24):
            slice_minutes, slice_miles = _fastest(*_drive(position, streets, day, hour))
            minutes.append(slice_minutes)
            miles.append(slice_miles)
    return City(zone_ids, position, _centrality(position), np.stack(minutes), np.stack(miles))


def traffic(day: int | np.ndarray, hour: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cars on the street, 1 in the worst rush hour: those towards the centre, those away from it.

    Both have the shape of `day`, an index into DAYS, and `hour`, 0 to 24.
    """
    working = np.array([1.0, 1.0, 0.25, 0.12])[day]
    evening_out = np.array([0.25, 0.6, 0.75, 0.3])[day]
    base = 0.18 + 0.37 * _bump(hour, 14.0, 4.5)
    inbound = base + working * 0.55 * _bump(hour, 8.3, 1.3) + evening_out * 0.25 * _bump(hour, 20.5, 2.0)
    outbound = base + working * 0.5 * _bump(hour, 17.6, 1.7) + evening_out * 0.3 * _bump(hour, 23.5, 2.0)
    return inbound, outbound


def _bump(hour: float | np.ndarray, at: float, width: float) -> np.ndarray:
    apart = (np.asarray(hour) - at + 12) % 24 - 12  # hours, the short way round the clock
    return np.exp(-0.5 * (apart / width) ** 2)


def _spread(rng: np.random.Generator) -> np.ndarray:
    """Zones apart from each other, closer together near the centre, none in the river or the park."""
    chosen = [CENTRE]
    while len(chosen) < CITY_ZONES:
        candidates = rng.uniform((0, 0), (WIDTH, HEIGHT), (200, 2))
        candidates = candidates[(abs(candidates[:, 0] - RIVER) > 0.3) & ~_in_park(candidates)]
        nearest = np.linalg.norm(candidates[:, None] - np.array(chosen), axis=2).min(axis=1)
        chosen.append(candidates[np.argmax(nearest * (0.5 + _centrality(candidates)))])
    return np.array(chosen)


def _centrality(position: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (np.linalg.norm(position - CENTRE, axis=-1) / 2.2) ** 2)


def _in_park(position: np.ndarray) -> np.ndarray:
    middle, axes = PARK
    return (((position - middle) / axes) ** 2).sum(axis=-1) < 1


def _streets(position: np.ndarray) -> np.ndarray:
    """Pairs of zones (n_streets, 2) with a street in both directions; the last ones are the bridges."""
    east = position[:, 0] > RIVER
    apart = np.linalg.norm(position[:, None] - position, axis=2)
    apart[east[:, None] != east] = np.inf
    middle = (position[:, None] + position) / 2
    apart[_in_park(middle)] = np.inf
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
    pairs = {(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row if apart[a, b] < np.inf}
    banks = [np.flatnonzero(side) for side in (~east, east)]
    bridges = [
        [zones[np.argmin(np.linalg.norm(position[zones] - (RIVER, y), axis=1))] for zones in banks] for y in BRIDGES
    ]
    return np.array(sorted(pairs) + bridges)


def _drive(position: np.ndarray, streets: np.ndarray, day: int, hour: int) -> tuple[np.ndarray, np.ndarray]:
    """Minutes and miles (n_zones, n_zones) of every street in both directions, infinite where there is none.

    Blocks are walked along, not cut through: a street's length is its sides along the street grid, which is turned by
    29 degrees. Traffic slows as it does on roads: (1 + 0.15 load^4), the Bureau of Public Roads' curve.
    """
    start, end = (np.concatenate([streets, streets[:, ::-1]])[:, side] for side in (0, 1))
    turn = np.deg2rad(29)
    grid = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    step = (position[end] - position[start]) @ grid
    length = 0.5 * np.abs(step).sum(axis=1) + 0.5 * np.linalg.norm(step, axis=1)

    core = _centrality((position[start] + position[end]) / 2)
    inwards = _centrality(position[end]) > _centrality(position[start])
    inbound, outbound = traffic(day, hour)
    bridge = np.tile(np.arange(len(streets)) >= len(streets) - len(BRIDGES), 2)
    free = np.where(bridge, 24.0, 20.5 - 6.0 * core)  # miles an hour
    load = np.where(inwards, inbound, outbound) * (1.2 + 0.3 * core + 0.1 * bridge)
    minutes, miles = (np.full((len(position), len(position)), np.inf) for _ in range(2))
    minutes[start, end] = 60 * length / free * (1 + 0.15 * load**4) + 0.25  # a quarter minute at the crossing
    miles[start, end] = length
    return minutes, miles


def _fastest(minutes: np.ndarray, miles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Floyd and Warshall's shortest ways by minutes, and the miles along them, as float32."""
    np.fill_diagonal(minutes, 0)
    np.fill_diagonal(miles, 0)
    for via in range(len(minutes)):
        through = minutes[:, via, None] + minutes[via]
        better = through < minutes
        minutes = np.where(better, through, minutes)
        miles = np.where(better, miles[:, via, None] + miles[via], miles)
    return minutes.astype("float32"), miles.astype("float32")
