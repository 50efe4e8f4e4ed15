"""`full` and `pickup`: when the trip begins, and where on the zone map it begins and ends."""

import numpy as np
import pyarrow as pa

from taxi.features.feature_map import MAX_MILES, ZONE_IDS, ZONES, FeatureMap, zone_column
from taxi.features.holidays import is_holiday
from taxi.features.zone_map import DIMENSIONS, DistanceSums, map_miles

_MINUTE = 60_000_000  # microseconds


class MapFeatures(FeatureMap):
    """What is learned is the zone map: float32 miles of shape (ZONES, DIMENSIONS), NaN for a zone that is nowhere."""

    learns = "zones"
    learner = DistanceSums

    def _columns(
        self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray, miles: np.ndarray, microseconds: np.ndarray
    ) -> dict[str, np.ndarray]:
        minutes = microseconds // _MINUTE
        days = minutes // 1440
        start, end = self.learned[pickup_zone], self.learned[dropoff_zone]
        straight = map_miles(start, end)
        with np.errstate(invalid="ignore"):
            metered = np.where((miles > 0) & (miles <= MAX_MILES), miles, np.nan).astype(np.float32)
        columns = {
            "minute_of_day": minutes - days * 1440,
            "day_of_week": (days + 3) % 7,  # 1970 began on a Thursday
            "holiday": is_holiday(days),
            "map_distance": straight,
            "trip_distance": metered,
            "detour": metered - straight,
        }
        for where, places in (("pickup", start), ("dropoff", end)):
            axes = [name for name in self.columns if name.startswith(f"{where}_map_")]
            columns |= {name: places[:, axis] for axis, name in enumerate(axes)}
        return {name: columns[name].astype(np.float32) for name in self.columns}

    def _unseen(self, pickup_zone: np.ndarray, dropoff_zone: np.ndarray) -> dict[str, np.ndarray]:
        nowhere = np.isnan(self.learned[:, 0])
        nowhere[0] = False  # no zone at all, which is a note of its own
        return {f"{name} was not in training": nowhere[zones]
                for name, zones in zip(ZONES, (pickup_zone, dropoff_zone), strict=True)}  # fmt: skip

    def usual_trips(self) -> list[tuple[int, int, float]]:
        """From the zone in the middle of the map: to the nearest zone, and to one at the median distance."""
        zones = np.flatnonzero(~np.isnan(self.learned[:, 0]))
        if not len(zones):
            return []
        places = self.learned[zones]
        miles = map_miles(places[:, None], places[None])
        middle = int(np.argmin(miles.mean(axis=1)))
        order = np.argsort(miles[middle], kind="stable")
        ends = (order[min(1, len(order) - 1)], order[len(order) // 2])
        return [(int(zones[middle]), int(zones[end]), round(max(float(miles[middle, end]), 0.5), 1)) for end in ends]

    def matrix(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """float32 of shape (n, k), row after row."""
        return np.column_stack([columns[name] for name in self.columns])

    def _table(self) -> pa.Table:
        somewhere = np.flatnonzero(~np.isnan(self.learned[:, 0]))
        axes = {f"miles_{axis}": self.learned[somewhere, axis] for axis in range(DIMENSIONS)}
        return pa.table({"zone": somewhere.astype(np.int32), **axes})

    @staticmethod
    def _read(table: pa.Table) -> np.ndarray:
        places = np.full((ZONE_IDS, DIMENSIONS), np.nan, np.float32)
        for axis in range(DIMENSIONS):
            places[zone_column(table, "zone"), axis] = table[f"miles_{axis}"].to_numpy()
        return places
