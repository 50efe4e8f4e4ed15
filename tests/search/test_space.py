"""The search space as a table."""

from search.space import Dimension, space_table
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


def test_every_dimension_of_every_family_has_a_unit():
    """A number without one says nothing to who reads it first."""
    for family in FAMILIES.values():
        for features in ("course", "full"):
            assert [row.name for row in family.space_rows(features) if not row.unit] == []
