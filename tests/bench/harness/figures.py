"""What was measured: one value of each round for each figure, shown as medians, written as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

_ROW = re.compile(r"^\| (?P<bench>\w+): (?P<name>[^|]+) \|[^|]*\|[^|]*\|$", re.MULTILINE)


class Beside(NamedTuple):
    """What a figure is compared with, measured in the same round."""

    what: str
    value: float


@dataclass(slots=True)
class Figure:
    """One figure of a bench."""

    bench: str
    name: str
    unit: str
    asked: str
    """What it should be, as text: nothing is asserted."""
    values: list[float] = field(default_factory=list)
    beside: str = ""
    beside_values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return median(self.values)

    @property
    def beside_median(self) -> float:
        """The same of what stands beside it; there must be something."""
        return median(self.beside_values)

    def row(self) -> list[str]:
        """Its cells in the table."""
        spread = f"{number(min(self.values))} to {number(max(self.values))} ({len(self.values)})"
        beside = f"{number(self.beside_median)} {self.beside}" if self.beside else ""
        value = number(self.median)
        return [self.bench, self.name, self.unit, value, spread, self.asked, beside]


class Figures:
    """All figures of a run, in the order in which they were first noted."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Figure] = {}
        self.bench = ""
        """Whose figures are noted now."""

    def note(
        self, name: str, unit: str, value: float, asked: str = "", beside: Beside | None = None
    ) -> None:
        """One value more of a figure."""
        figure = self._found.setdefault(
            (self.bench, name),
            Figure(self.bench, name, unit, asked, beside=beside.what if beside else ""),
        )
        figure.values.append(value)
        if beside:
            figure.beside_values.append(beside.value)

    def find(self, bench: str, name: str) -> Figure | None:
        """None where it was not measured."""
        return self._found.get((bench, name))

    def table(self) -> list[str]:
        """Rows of Markdown."""
        rows = [["bench", "figure", "unit", "median", "range (values)", "asked", "beside it"]]
        rows.append(["---"] * len(rows[0]))
        rows += [figure.row() for figure in self._found.values()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
            for row in rows
        ]

    def refreshed(self, page: str) -> str:
        """A page whose rows `| BENCH: FIGURE | VALUE | BESIDE |` have what was measured now.

        Rows of benches that did not run stay. Raises ValueError for a figure that a bench has not.
        """
        benches = {bench for bench, _ in self._found}

        def row(found: re.Match[str]) -> str:
            figure = self._found.get((found["bench"], found["name"]))
            if figure is None:
                if found["bench"] in benches:
                    raise ValueError(f"{found['bench']} has no figure {found['name']}")
                return found[0]
            _, _, unit, value, _, _, beside = figure.row()
            return f"| {found['bench']}: {found['name']} | {value} {unit} | {beside} |"

        return _ROW.sub(row, page)

    def as_json(self) -> list[dict[str, Any]]:
        """All values of all figures."""
        return [
            {
                "bench": figure.bench,
                "figure": figure.name,
                "unit": figure.unit,
                "asked": figure.asked,
                "median": figure.median,
                "values": figure.values,
                "beside": {"what": figure.beside, "values": figure.beside_values},
            }
            for figure in self._found.values()
        ]


def number(value: float) -> str:
    """Three digits that count, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text
