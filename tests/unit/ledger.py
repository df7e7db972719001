"""Counters under a series budget, in the plainest form: what a fold does with its decisions."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.counts.budget import Budget
from exporter.names.domains import OTHER


@dataclass(eq=False)
class Series:
    """One counter that is shown."""

    domain: str
    number: int
    """A new one each time that the domain comes back."""
    bytes: int = 0
    weighed: int = 0
    has_left: bool = False


@dataclass
class BoundFlow:
    """A flow with a name, and the series that it counts under."""

    name: str
    series: Series


class Ledger:
    """Own series, `other`, and what series that left had counted."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.other = Series(OTHER, 0)
        self.own: dict[str, Series] = {}
        self.evicted = 0
        self._numbers = 0

    def open(self, name: str, now_s: float) -> BoundFlow:
        return BoundFlow(name, self._series(self.budget.admit(name, now_s)))

    def add(self, flow: BoundFlow, wire_bytes: int, now_s: float) -> None:
        """What a sweep finds of one flow."""
        if flow.series is self.other or flow.series.has_left:
            left = self.budget.weigh(flow.name, wire_bytes, now_s)
            if left is not None:
                self._leave(left)
            flow.series = self._series(flow.name if flow.name in self.budget else OTHER)
            flow.series.weighed += wire_bytes
        flow.series.bytes += wire_bytes

    def end_sweep(self, now_s: float) -> None:
        """Weighs what own series have counted since the last sweep."""
        for series in list(self.own.values()):
            if series.bytes != series.weighed:
                assert (
                    self.budget.weigh(series.domain, series.bytes - series.weighed, now_s) is None
                )
                series.weighed = series.bytes

    def expire(self, now_s: float) -> None:
        for domain in self.budget.expire(now_s):
            self._leave(domain)

    def shown(self) -> dict[tuple[str, int], int]:
        """Each counter, by domain and number."""
        every = [self.other, *self.own.values()]
        return {(series.domain, series.number): series.bytes for series in every}

    def _series(self, domain: str) -> Series:
        if domain == OTHER:
            return self.other
        if domain not in self.own:
            self._numbers += 1
            self.own[domain] = Series(domain, self._numbers)
        return self.own[domain]

    def _leave(self, domain: str) -> None:
        # A domain may have been admitted, and have left, before any flow of it counted.
        series = self.own.pop(domain, None)
        if series is not None:
            series.has_left = True
            self.evicted += series.bytes
