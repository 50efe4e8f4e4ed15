"""The meters' records as TLC would have published them: every column, of that month's types."""

import numpy as np
import pyarrow as pa

from taxi.city.meter import meter_records
from taxi.city.streets import city
from taxi.months.trips import raw_names

NEW_TYPES = "2023-02"  # from this month on int32 for int64, large_string for string, int64 for double
UNKNOWN = 0.065  # records of which vendors sent no passengers, payment or type


def schema(taxi: str, name: str) -> pa.Schema:
    """Names, order and types of TLC's file of that month."""
    new = name >= NEW_TYPES
    integer, text, number = ("int32", "large_string", "int64") if new else ("int64", "string", "double")
    _, _, _, pickup, dropoff = raw_names(taxi)
    start = {"VendorID": integer, pickup: "timestamp[us]", dropoff: "timestamp[us]"}
    zones = {"PULocationID": integer, "DOLocationID": integer}
    flag, rate = {"store_and_fwd_flag": text}, {"RatecodeID": number}
    people, distance = {"passenger_count": number}, {"trip_distance": "double"}
    money = dict.fromkeys(("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount"), "double")
    total = {"improvement_surcharge": "double", "total_amount": "double"}
    congestion = {"congestion_surcharge": "double"}
    if taxi == "green":
        hail = {"ehail_fee": "double" if new else "null"}
        kinds = {"payment_type": number, "trip_type": number}
        parts = [start, flag, rate, zones, people, distance, money, hail, total, kinds, congestion]
    else:
        airport = {"Airport_fee" if new else "airport_fee": "double"}  # TLC changed the capital too
        payment = {"payment_type": integer}
        parts = [start, people, distance, rate, flag, zones, payment, money, total, congestion, airport]
    kinds = {column: kind for part in parts for column, kind in part.items()}
    return pa.schema([(column, pa.type_for_alias(kind)) for column, kind in kinds.items()])


def table(taxi: str, name: str, rows: int, chunk: int) -> pa.Table:
    """One chunk of a month as TLC would have published it, of `schema(taxi, name)`."""
    records, rng = meter_records(taxi, name, rows, chunk)
    rides = records.rides
    n = len(rides.miles)
    dice = rng.integers(0, 1000, (6, n), dtype="uint16")
    unknown = dice[0] < 1000 * UNKNOWN
    ids = city().zone_ids
    central = city().centrality[rides.dropoff_zone] > 0.5

    fare = np.rint(10 * (3.0 + 1.9 * rides.miles + 0.35 * rides.route_minutes)) / 10
    card = (dice[1] < 640) & ~unknown
    tip = np.where(card & (dice[2] < 900), np.rint(fare * (15 + dice[2] % 4 * 5)) / 100, 0.0)
    extra = np.array([0.0, 1.0, 2.5])[dice[3] % 3]
    tolls = np.where(dice[4] < 25, 6.55, 0.0)
    surcharge = np.where(central, 2.75, 0.0)
    fields = schema(taxi, name)
    _, _, _, pickup, dropoff = raw_names(taxi)
    values = {
        "VendorID": np.where(dice[5] < 860, 2, 1),
        pickup: records.pickup,
        dropoff: records.dropoff,
        "store_and_fwd_flag": dice[5] % 200 == 0,
        "RatecodeID": np.where(dice[4] < 975, 1, 5),
        "PULocationID": ids[rides.pickup_zone],
        "DOLocationID": ids[rides.dropoff_zone],
        "passenger_count": np.array([1, 1, 1, 1, 1, 1, 1, 2, 2, 5])[dice[3] % 10],
        "trip_distance": records.miles,
        "fare_amount": fare,
        "extra": extra,
        "mta_tax": np.full(n, 0.5),
        "tip_amount": tip,
        "tolls_amount": tolls,
        "ehail_fee": np.full(n, np.nan),
        "improvement_surcharge": np.full(n, 1.0),
        "total_amount": np.rint(100 * (fare + extra + tip + tolls + surcharge + 1.5)) / 100,
        "payment_type": np.where(card, 1, 2),
        "trip_type": np.where(dice[4] < 975, 1, 2),
        "congestion_surcharge": surcharge,
        "airport_fee": np.zeros(n),
        "Airport_fee": np.zeros(n),
    }
    nulls = dict.fromkeys(("store_and_fwd_flag", "RatecodeID", "passenger_count", "trip_type"), unknown)
    nulls |= {"congestion_surcharge": unknown, "trip_distance": records.miles_missing, "ehail_fee": np.full(n, True)}
    if taxi == "green":
        nulls["payment_type"] = unknown
    return pa.table([_column(values[field.name], field.type, nulls.get(field.name)) for field in fields], schema=fields)


def _column(values: np.ndarray, kind: pa.DataType, nulls: np.ndarray | None) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if values.dtype == bool:
        return pa.array(["N", "Y"], kind).take(pa.array(values.astype("int8"), mask=nulls))
    if kind == pa.timestamp("us"):
        return pa.array(values.astype("datetime64[us]"))
    return pa.array(values.astype(kind.to_pandas_dtype(), copy=False), mask=nulls)
