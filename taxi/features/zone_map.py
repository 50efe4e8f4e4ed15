"""A map of the zones, computed from metered distances only: two zones are near on it if the taxi ride is short.

No table of coordinates is needed, so that any city works, also one with rivers: the map has more than two dimensions,
and what a bridge adds to the way becomes height. What is learned of past trips is one sum for each pair of zones, of
whole numbers: the same bits for any cut of the months into batches and any order.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from taxi.features.feature_map import ZONE_IDS

DIMENSIONS = 4  # on validation 2 cost 0.10 minutes of RMSE, 3 cost 0.01, 5 gain nothing
USABLE_CENTIMILES = (5, 6_000)  # hundredths of a mile; less is a meter never started, more than 60 miles none drives
MAX_SPEED = 80.0  # miles an hour, above which the distance or the clock is wrong
ROUNDS = 100  # of drawing; on real months the misfit is within 3 % of what thousands of rounds reach
STEP = 0.6  # of the gap to a pair's distance, since both its zones move: above 2/3 accelerated steps never settle
DOUBTED_TRIPS = 2.0  # a pair of so few trips has half the weight that its count would give
START_SEED, START_MILES = 1811, 5.0  # of the scattered start: a city's size


@dataclass
class DistanceSums:
    """Trips and hundredths of a mile between each two zones, both ways together. `add` in any order."""

    trips: np.ndarray = field(default_factory=lambda: np.zeros(ZONE_IDS * ZONE_IDS, np.int64))
    centimiles: np.ndarray = field(default_factory=lambda: np.zeros(ZONE_IDS * ZONE_IDS, np.int64))

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of valid trips."""
        miles, minutes = (batch[name].to_numpy() for name in ("trip_distance", "duration"))
        pickup_zone, dropoff_zone = (batch[name].to_numpy() for name in ("PULocationID", "DOLocationID"))
        centimiles = np.rint(miles * 100)
        low, high = USABLE_CENTIMILES
        usable = (centimiles >= low) & (centimiles <= high) & (miles * 60 <= MAX_SPEED * minutes)
        usable &= pickup_zone != dropoff_zone
        a, b = pickup_zone[usable], dropoff_zone[usable]
        pairs = np.minimum(a, b) * ZONE_IDS + np.maximum(a, b)
        self.trips += np.bincount(pairs, minlength=ZONE_IDS * ZONE_IDS)
        # A batch's sum in float64 is far below 2**53, so it is exact.
        self.centimiles += np.bincount(pairs, centimiles[usable], minlength=ZONE_IDS * ZONE_IDS).astype(np.int64)

    def result(self) -> np.ndarray:
        """The map: float32 miles of shape (ZONES, DIMENSIONS), NaN for zones that no usable trip joins to another.

        Stress majorisation (de Leeuw, 1977; Gansner, Koren, North, 2004) of all zones at once, with Nesterov's
        acceleration, which begins anew whenever it leads uphill (O'Donoghue, Candes, 2015). Only sums in a fixed
        order, products and roots: the same bits on every machine.
        """
        pairs = np.flatnonzero(self.trips)
        a, b = pairs // ZONE_IDS, pairs % ZONE_IDS
        trips = self.trips[pairs].astype(np.float64)
        miles = self.centimiles[pairs] / trips / 100
        # The mean of n trips is sqrt(n) times as sure; a mile matters less between zones far apart.
        weight = np.sqrt(trips) * trips / (trips + DOUBTED_TRIPS) / (miles + 1)
        total = np.bincount(a, weight, ZONE_IDS) + np.bincount(b, weight, ZONE_IDS)
        share = np.divide(1.0, total, out=np.zeros(ZONE_IDS), where=total > 0)
        pull, step = weight * miles, STEP * share[:, None]

        places = np.random.default_rng(START_SEED).normal(0, START_MILES, (DIMENSIONS, ZONE_IDS)).T.copy()
        lookahead, momentum = places, 1.0
        of_a, of_b = ((zone[:, None] * DIMENSIONS + np.arange(DIMENSIONS)).ravel() for zone in (a, b))
        apart, squared = np.empty((len(pairs), DIMENSIONS)), np.empty((len(pairs), DIMENSIONS))
        for _ in range(ROUNDS):
            # Into the same memory each round: new arrays of this size cost more than what is computed in them.
            np.take(lookahead, a, axis=0, out=apart, mode="clip")
            apart -= np.take(lookahead, b, axis=0, out=squared, mode="clip")
            length = np.sqrt(_summed(np.multiply(apart, apart, out=squared).T))
            apart *= (pull / np.maximum(length, 1e-9) - weight)[:, None]
            gradient = np.bincount(of_a, apart.ravel(), places.size) - np.bincount(of_b, apart.ravel(), places.size)
            gradient = gradient.reshape(places.shape)
            moved = lookahead + step * gradient
            way = moved - places
            if (way * gradient).sum() < 0:
                lookahead, momentum = moved, 1.0
            else:
                faster = (1 + np.sqrt(1 + 4 * momentum * momentum)) / 2
                lookahead, momentum = moved + (momentum - 1) / faster * way, faster
            places = moved
        return np.where(total[:, None] > 0, places, np.nan).astype(np.float32)


def _summed(rows: np.ndarray) -> np.ndarray:
    """Rows added one after the other."""
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


def map_miles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of places `a` and `b`, float32 of shape (n, DIMENSIONS) each: float32 (n,), NaN where one is nowhere."""
    apart = (a - b).T
    return np.sqrt(_summed(apart * apart))
