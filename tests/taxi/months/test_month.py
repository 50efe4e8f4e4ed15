"""Which months a parameter means."""

import pytest

from taxi.months.month import parse_months


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("2023-01", ("2023-01",)),
        ("2023-03,2023-01,2023-03", ("2023-01", "2023-03")),
        ("2022-11:2023-02", ("2022-11", "2022-12", "2023-01", "2023-02")),
        ("2022-12:2023-01, 2023-01:2023-02", ("2022-12", "2023-01", "2023-02")),
        ("none", ()),
    ],
)
def test_months_are_sorted_and_unique(text, months):
    """A month, a list, a range, a list of ranges, and none."""
    assert parse_months(text) == months


@pytest.mark.parametrize(
    "text",
    ["", "2023", "2023-1", "2023-13", "2023-00", "202301", "2023-01-02", "2023-02:2023-01", "2023-01:2023-02:2023-03",
     "2023-01,", "None", "auto", "1900-01", "2100-01", "２０２３-01", "2023-01\n2023-02", "$(date)", "../2023-01",
     "x" * 10_000],
)  # fmt: skip
def test_what_is_no_month_is_refused_in_two_lines(text):
    """The error quotes the value, cut if long, and shows the accepted forms."""
    with pytest.raises(
        ValueError, match=r"Use 2023-01, a list 2023-01,2023-03, a range 2022-01:2022-12, or none\."
    ) as e:
        parse_months(text)
    assert str(e.value).count("\n") == 1
    assert len(str(e.value)) < 400
