"""Feature sets: which columns, and when each is known. A set that uses what is not known yet is refused."""

from dataclasses import dataclass

BOOKING, DROPOFF = "booking", "dropoff"
WHEN = (BOOKING, DROPOFF)  # in the order of time
# What is known of a trip, and when. The duration is the answer: no column may use it.
KNOWN = {"PULocationID": BOOKING, "DOLocationID": BOOKING, "pickup_datetime": BOOKING, "trip_distance": DROPOFF}


class FeatureError(ValueError):
    """Features that break their own declaration, or a folder that does not hold fitted ones."""


@dataclass(frozen=True)
class Column:
    """One feature: `known` at booking or at drop-off, made of the trip's own fields `uses`."""

    name: str
    known: str
    uses: tuple[str, ...]
    unit: str
    categorical: bool = False


@dataclass(frozen=True)
class FeatureSet:
    """A named choice of columns, all known at `known`, that the kind of features `learns` makes.

    `in_month` drops pickups outside the file's month.
    """

    name: str
    known: str
    learns: str
    columns: tuple[Column, ...]
    in_month: bool = True

    def check(self) -> None:
        """Raise FeatureError when a column uses something known later than it says, or is itself later than its set."""
        for column in self.columns:
            unknown = [field for field in column.uses if field not in KNOWN]
            if unknown:
                raise FeatureError(
                    f"feature {column.name} uses {', '.join(unknown)}, which is not known before the answer is\n"
                    f"Use only {', '.join(KNOWN)}."
                )
            late = [field for field in column.uses if WHEN.index(KNOWN[field]) > WHEN.index(column.known)]
            if late:
                raise FeatureError(
                    f"feature {column.name} is declared known at {column.known}, but uses {', '.join(late)}, known at"
                    f" {KNOWN[late[0]]}\nDeclare it so, or leave it out of this set."
                )
            if WHEN.index(column.known) > WHEN.index(self.known):
                raise FeatureError(
                    f"feature set {self.name} is declared known at {self.known}, but {column.name} is known at"
                    f" {column.known}\nLeave the column out of this set."
                )


_PICKUP, _DROPOFF, _TIME = ("PULocationID",), ("DOLocationID",), ("pickup_datetime",)
_PAIR = _PICKUP + _DROPOFF
MAP_AXES = ("a", "b", "c", "d")  # of the zone map; they have no directions of the compass

_AT_BOOKING = (
    Column("minute_of_day", BOOKING, _TIME, "minutes after midnight"),
    Column("day_of_week", BOOKING, _TIME, "days after Monday"),
    Column("holiday", BOOKING, _TIME, "1 on a public holiday"),
    *(Column(f"pickup_map_{axis}", BOOKING, _PICKUP, "miles") for axis in MAP_AXES),
    *(Column(f"dropoff_map_{axis}", BOOKING, _DROPOFF, "miles") for axis in MAP_AXES),
    Column("map_distance", BOOKING, _PAIR, "miles"),
)
_AT_DROPOFF = (
    Column("trip_distance", DROPOFF, ("trip_distance",), "miles"),
    Column("detour", DROPOFF, (*_PAIR, "trip_distance"), "miles driven beyond the map's distance"),
)
_COURSE = (
    Column("PU_DO", BOOKING, _PAIR, "one column a pair", categorical=True),
    Column("trip_distance", DROPOFF, ("trip_distance",), "miles"),
)

FEATURE_SETS: dict[str, FeatureSet] = {
    "course": FeatureSet("course", DROPOFF, "pairs", _COURSE, in_month=False),
    "full": FeatureSet("full", DROPOFF, "zones", _AT_BOOKING + _AT_DROPOFF),
    "pickup": FeatureSet("pickup", BOOKING, "zones", _AT_BOOKING),
}
