"""What OTLP shows of each interval: all that /metrics showed then."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.counts.rates import Rates
from exporter.counts.replay import Interval
from exporter.counts.rows import Row
from exporter.outputs.catalogue import Family, families


class ShownIntervals:
    """Turns intervals, which it is given in order, into families."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._interval: Interval | None = None

    def add(self, interval: Interval) -> None:
        """The next interval."""
        if self._interval is not None and interval.boot_id != self._interval.boot_id:
            self._rates = Rates()  # its clock began anew
        self._interval = interval
        self._rates.add(interval.rows, interval.boot_s)

    def families(self) -> Iterator[Family]:
        """Of the last interval, in an order that depends on nothing but its rows."""
        if self._interval is not None:
            rows, at = self._interval.rows, self._interval
            rates = self._rates.of(rows, at.boot_s)
            yield from families(sorted(rows, key=_identity), rates, at.wall_s)


def _identity(row: Row) -> tuple[str, tuple[str, ...], float]:
    return row.family, row.labels, row.created_s
