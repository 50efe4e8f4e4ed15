"""The search space as a table."""

import pytest

from search.space import Dimension, edges, space_table
from taxi.models.families import FAMILIES


def test_a_line_for_each_hyperparameter_with_range_scale_and_unit():
    """As Markdown; a dimension that takes whole numbers alone says so."""
    rows = [Dimension("max_depth", 5, 9, unit="levels"), Dimension("rate", 0.15, 0.4, "log", "share")]
    assert space_table(rows).splitlines() == [
        "| searched | from | to | scale | unit |",
        "| --- | ---: | ---: | --- | --- |",
        "| max_depth | 5 | 9 | linear, whole numbers | levels |",
        "| rate | 0.15 | 0.4 | log | share |",
    ]


SPACE = [
    Dimension("max_depth", 5, 9, unit="levels"),
    Dimension("rate", 0.01, 1.0, "log", "share"),
    Dimension("subsample", 0.5, 1.0, unit="share of trips"),
]
LIMITS = {"max_depth": (1, 20), "subsample": (0.05, 1.0)}
INSIDE = {"max_depth": 6, "rate": 0.1, "subsample": 0.75}


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, []),
        ({"max_depth": 5}, ["max_depth 5 at the lower end of 5 to 9"]),
        ({"max_depth": 9}, ["max_depth 9 at the upper end of 5 to 9"]),
        ({"rate": 0.0109}, ["rate 0.0109 at the lower end of 0.01 to 1"]),  # a fiftieth of a log axis of two decades
        ({"rate": 0.011}, []),
        ({"subsample": 0.505}, ["subsample 0.505 at the lower end of 0.5 to 1"]),
        ({"subsample": 1.0}, []),  # there is no larger share
        ({"max_depth": 9, "rate": 0.95},
         ["max_depth 9 at the upper end of 5 to 9", "rate 0.95 at the upper end of 0.01 to 1"]),
    ],
)  # fmt: skip
def test_where_a_trial_lies_at_an_end_of_the_space(params, found):
    """The next whole number inside is no end; neither is one beyond which there is nothing."""
    assert edges(SPACE, {**INSIDE, **params}, LIMITS) == found


def test_the_limits_of_every_family_hold_its_space():
    """Every parameter that is searched has one; an end may be one."""
    for family in FAMILIES.values():
        for row in family.space_rows("full"):
            limits = family.kind.params.ranges[row.name]
            assert limits.low <= row.low < row.high <= limits.high


def test_every_dimension_of_every_family_has_a_unit():
    """A number without one says nothing to who reads it first."""
    for family in FAMILIES.values():
        for features in ("course", "full"):
            assert [row.name for row in family.space_rows(features) if not row.unit] == []
