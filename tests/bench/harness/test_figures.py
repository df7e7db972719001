"""Figures as they are shown: medians, and the rows of a page that they replace."""

from __future__ import annotations

import pytest

from tests.bench.harness.figures import Beside, Figures, number

PAGE = """| figure | value | beside it |
| --- | --- | --- |
| kernel: 1 flow | 7 ns | 8 old |
| agent: CPU at rest | 9 % | |
text | with | bars |
"""


@pytest.fixture
def figures() -> Figures:
    made = Figures()
    made.bench = "kernel"
    for value in (3.0, 1.0, 2000.0):
        made.note("1 flow", "ns", value, "≤ 45", Beside("new", 2 * value))
    return made


def test_a_row_has_medians_and_the_range(figures: Figures) -> None:
    *_, row = figures.table()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["kernel", "1 flow", "ns", "3", "1 to 2,000 (3)", "≤ 45", "6 new"]


def test_a_page_gets_what_was_measured_and_keeps_the_rest(figures: Figures) -> None:
    assert figures.refreshed(PAGE) == PAGE.replace("7 ns | 8 old", "3 ns | 6 new")


def test_a_page_with_a_figure_that_is_no_more_is_refused(figures: Figures) -> None:
    with pytest.raises(ValueError, match="kernel has no figure 2 flows"):
        figures.refreshed(PAGE.replace("1 flow", "2 flows"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0000412, "0.000041"), (0.01234, "0.0123"), (45.67, "45.7"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text
