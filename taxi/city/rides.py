"""Rides through the made-up city, without defects, drawn in chunks, and the best possible forecast of their duration.

A ride's mean minutes follow from the route, the traffic and the detour its distance shows. What it takes beyond or
below them is lights: waits of `WAIT_MINUTES` on average, so its minutes are gamma distributed, and the best that any
model could say of a ride is known in closed form.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from taxi.city.streets import CITY_ZONES, DAY_KIND, city, traffic
from taxi.months.month import TAXIS
from taxi.months.trips import DURATION_MINUTES

CHUNK = 131_072  # rides drawn at a time: a month of any size takes the memory of a few of these
WAIT_MINUTES = 1.0  # the scale of the gamma distribution: a ride of m minutes has a variance of 1.0 m
DETOUR = 0.15  # standard deviation of log miles about the route's: which door, which block
DETOUR_TIME = 0.85  # minutes grow with this power of the detour: longer ways are a little faster
DOOR_MINUTES = 1.2  # from closing the door to driving, and back
LAST_MILES, LAST_MPH = 0.5, 12.0  # from door to zone and from zone to door, together
SEASON = 0.012  # how much slower April is than January, and October faster: months drift apart a little

_PARTS = 5  # of the week, each with its own ways to go: morning, day, evening, night, weekend


@dataclass(frozen=True)
class Rides:
    """Columns of shape (n_rides,). Zones are indices into the city's, not TLC's ids."""

    pickup_zone: np.ndarray
    dropoff_zone: np.ndarray
    pickup: np.ndarray  # seconds since the month began
    miles: np.ndarray  # driven, hundredths
    seconds: np.ndarray  # long, whole
    route_minutes: np.ndarray  # mean, without the door and at no detour
    route_miles: np.ndarray


def draw_rides(taxi: str, name: str, rows: int, chunk: int) -> tuple[Rides, np.random.Generator]:
    """Rides `chunk * CHUNK` up to the next chunk of a month of `rows`, in order of pickup, and the generator after."""
    year, month = (int(part) for part in name.split("-"))
    rng = np.random.Generator(np.random.SFC64([TAXIS.index(taxi), year, month, rows, chunk]))
    first = chunk * CHUNK
    n = min(CHUNK, rows - first)
    here = city()
    share, slices, parts = _calendar(name)

    pickup = np.interp((first + np.arange(n) + rng.random(n)) / rows, share, np.arange(len(share)) * 3600.0)
    pickup = np.minimum(pickup.astype("int64"), (len(share) - 1) * 3600 - 1)
    hour = pickup // 3600
    past = (pickup - hour * 3600) / 3600
    pair = np.searchsorted(_pairs(taxi), parts[hour] + rng.random(n), side="right") % CITY_ZONES**2

    before, after = slices[hour] * CITY_ZONES**2 + pair, slices[hour + 1] * CITY_ZONES**2 + pair
    between = [(1 - past) * table.ravel()[before] + past * table.ravel()[after] for table in (here.minutes, here.miles)]
    slower = 1 + SEASON * np.sin(2 * np.pi * (month - 1) / 12)
    route_minutes = (between[0] + 60 * LAST_MILES / LAST_MPH) * slower
    route_miles = between[1] + LAST_MILES
    miles = np.rint(100 * route_miles * np.exp(DETOUR * rng.standard_normal(n))) / 100
    mean = mean_minutes(route_minutes, miles / route_miles)
    seconds = np.rint(60 * WAIT_MINUTES * rng.standard_gamma(mean / WAIT_MINUTES)).astype("int64")
    return Rides(pair // CITY_ZONES, pair % CITY_ZONES, pickup, miles, seconds, route_minutes, route_miles), rng


def mean_minutes(route_minutes: np.ndarray, detour: np.ndarray) -> np.ndarray:
    """Mean minutes of rides whose miles are `detour` times their routes'; float, of the shape of both together."""
    return DOOR_MINUTES + route_minutes * detour**DETOUR_TIME


def expected_minutes(rides: Rides, distance_known: np.ndarray) -> np.ndarray:
    """The best forecast in the mean square of each ride's minutes, given that it is kept; float (n_rides,).

    Where the distance is not known, the average over the detours a ride may have taken, each by its chance of a ride
    that is kept: Gauss and Hermite's nine points.
    """
    chance, mass = _kept(mean_minutes(rides.route_minutes, rides.miles / rides.route_miles))
    unknown = np.flatnonzero(~distance_known)
    if len(unknown):
        points, weights = np.polynomial.hermite_e.hermegauss(9)
        detours = np.exp(DETOUR * points)
        chances, masses = _kept(mean_minutes(rides.route_minutes[unknown, None], detours))
        chance[unknown], mass[unknown] = (chances * weights).sum(axis=1), (masses * weights).sum(axis=1)
    return mass / chance


def _kept(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chance that a ride of this mean lasts DURATION_MINUTES, and its mean minutes then, times that chance."""
    from scipy.special import gammainc  # here: a quarter second that only a floor needs

    shape = mean / WAIT_MINUTES
    low, high = (end / WAIT_MINUTES for end in DURATION_MINUTES)
    chance = gammainc(shape, high) - gammainc(shape, low)
    return chance, mean * (gammainc(shape + 1, high) - gammainc(shape + 1, low))


def hours(name: str) -> np.ndarray:
    """Every full hour of a month and the one after it, datetime64[h] (n_hours + 1,)."""
    month = np.datetime64(name, "M")
    return np.arange(month.astype("datetime64[h]"), (month + 1).astype("datetime64[h]") + 1)


@lru_cache(maxsize=2)
def _calendar(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every hour of a month: the share of rides before it, its slice of the city's tables, its part of the week."""
    every = hours(name)
    days = every.astype("datetime64[D]")
    kind = DAY_KIND[(days.astype("int64") + 3) % 7]  # 1970-01-01 was a Thursday
    hour = (every - days).astype("int64")
    inbound, outbound = traffic(kind, hour)
    asked = 0.15 + (inbound + outbound)  # who asks for a taxi is on the street as others are
    share = np.concatenate([[0], np.cumsum(asked[:-1])])
    parts = np.select([(hour < 6) | (hour >= 20), kind >= 2, hour < 10, hour < 16], [3, 4, 0, 1], 2)
    return share / share[-1], kind * 24 + hour, parts


@lru_cache(maxsize=2)
def _pairs(taxi: str) -> np.ndarray:
    """For each part of the week the running chance of each pair of zones, plus the part's number, in one array."""
    here = city()
    rng = np.random.default_rng(TAXIS.index(taxi))
    popular = np.exp(rng.normal(0, 1.4, CITY_ZONES))  # stations, avenues, hospitals
    streets = here.centrality if taxi == "yellow" else 1.05 - here.centrality  # green ones may not wait in the centre
    homes, work = popular * (1.2 - here.centrality), popular * (0.1 + here.centrality)
    anywhere = homes + work
    ways = [(homes, work), (anywhere, anywhere), (work, homes), (work, homes + 0.3 * work), (anywhere, anywhere)]
    far = np.exp(-here.miles[12] / 0.85) * (here.miles[12] + 0.3) + 0.0005  # a taxi is for neither a block nor a day
    running = []
    for part, (start, end) in enumerate(ways):
        chance = ((start * streets)[:, None] * end * far).ravel().cumsum()
        running.append(part + chance / chance[-1])
    return np.concatenate(running)
