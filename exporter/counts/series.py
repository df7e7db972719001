"""The series of each direction, domain and added labels, and the budget that they keep to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.clock import Now
from exporter.counts.budget import Budget
from exporter.counts.rows import Row
from exporter.counts.snapshot import DIRECTIONS, Count, DomainCounts
from exporter.names.domains import OTHER, RESERVED, UNKNOWN

Labels = tuple[str, ...]
"""The values of the added labels."""

_BOTH = range(len(DIRECTIONS))


@dataclass(slots=True)
class Series:
    """One counter that is shown, or the gauge of what is pending."""

    direction: int
    domain: str
    labels: Labels
    created_s: float
    """Seconds since the epoch."""
    index: int
    is_pending: bool = False
    contested: bool = False
    """Whether its flows may come to count elsewhere: it is `other`, or has left."""
    has_left: bool = False
    """Whether it is shown no longer, and only flows still refer to it."""
    packets: int = 0
    bytes: int = 0
    weighed: int = 0
    """Of `bytes`: what the budget knows of."""
    active_connections: int = 0
    bound: int = 0
    """How many flows refer to it."""


class SeriesTable:
    """All series, by index for flows and by key for domains."""

    def __init__(self, budget: Budget, no_flow: Labels, created_s: float) -> None:
        """*no_flow*: the labels of what has no flow."""
        self.evicted = [Count(), Count()]
        """What series that left had counted, by direction."""
        self.evicted_before = 0
        """How many times a domain's series had left before this process."""
        self.by_index: list[Series] = []
        self._budget = budget
        self._free: list[int] = []
        self._shown: dict[tuple[int, str, Labels], Series] = {}
        self._pending: dict[tuple[int, Labels], Series] = {}
        self._of_domain: dict[str, list[Series]] = {}
        self.unknown = [self._own(n, UNKNOWN, no_flow, created_s) for n in _BOTH]
        """Where what has no flow is counted, by direction."""

    def pending(self, direction: int, labels: Labels) -> Series:
        """The gauge of flows without a verdict."""
        series = self._pending.get((direction, labels))
        if series is None:
            series = self._new(direction, UNKNOWN, labels, 0.0)
            series.is_pending = True
            self._pending[direction, labels] = series
        return series

    def of(self, direction: int, domain: str, labels: Labels, now: Now) -> Series:
        """The series that a domain's flows count under now: its own, or `other`."""
        shown = domain if domain in RESERVED else self._budget.admit(domain, now.boot_s)
        return self._own(direction, shown, labels, now.wall_s)

    def restore(
        self,
        rows: Iterable[Row],
        weights: Mapping[str, float],
        may_stay: Callable[[str], bool],
        now: Now,
    ) -> None:
        """Goes on from the rows of domains that another process left.

        Those that may not stay, or for which there is no room any more, have left. *weights*: of
        domains, as far as they are known.
        """
        rows = list(rows)
        counted: dict[str, int] = {}
        for row in rows:
            counted[row.labels[1]] = counted.get(row.labels[1], 0) + int(row.values[1])
        # Of those that were not weighed yet, what they have counted tells.
        heaviest_first = sorted(
            filter(may_stay, counted.keys() - RESERVED),
            key=lambda name: (-weights.get(name, 0.0), -counted[name], name),
        )
        fits = {
            name
            for name in heaviest_first
            if self._budget.restore(name, weights.get(name, 0.0), now.boot_s)
        }
        for row in rows:
            name, domain, *labels = row.labels
            direction = DIRECTIONS.index(name)
            packets, wire_bytes = int(row.values[0]), int(row.values[1])
            if domain not in RESERVED and domain not in fits:
                self.evict(row)
                continue
            series = self._own(direction, domain, tuple(labels), row.created_s)
            series.created_s = row.created_s
            series.packets += packets
            series.bytes += wire_bytes
            series.weighed = series.bytes

    def leave_behind(self, rows: Iterable[Row], now: Now) -> None:
        """Another process left these, with other labels than there are now: all have left, and what
        is unknown begins anew.
        """
        for row in rows:
            self.evict(row)
        for series in self.unknown:
            series.created_s = now.wall_s

    def evict(self, row: Row) -> None:
        """What another process left is not shown any more."""
        self.add_evicted(DIRECTIONS.index(row.labels[0]), int(row.values[0]), int(row.values[1]))

    def weights(self, now: Now) -> dict[str, float]:
        """What `restore` is to know of the budget."""
        return self._budget.weights(now.boot_s)

    def add_evicted(self, direction: int, packets: int, wire_bytes: int) -> None:
        """What a series that is shown no longer had counted."""
        before = self.evicted[direction]
        self.evicted[direction] = Count(before.packets + packets, before.bytes + wire_bytes)

    def weigh(self, domain: str, wire_bytes: int, now: Now) -> bool:
        """Notes traffic of a domain without a series; whether it has one now."""
        left = self._budget.weigh(domain, wire_bytes, now.boot_s)
        if left is not None:
            self._leave(left, now)
        return domain in self._budget

    def weigh_own(self, now: Now) -> None:
        """Tells the budget what own series have counted, and lets idle ones go."""
        new: dict[str, int] = {}
        for domain, members in self._of_domain.items():
            for each in members:
                if each.bytes != each.weighed:
                    new[domain] = new.get(domain, 0) + each.bytes - each.weighed
                    each.weighed = each.bytes
        self._budget.weigh_own(new, now.boot_s)
        for domain in self._budget.expire(now.boot_s):
            self._leave(domain, now)

    def change(
        self, domains_max: int, idle_s: float, may_stay: Callable[[str], bool], now: Now
    ) -> None:
        """As Budget.change; what leaves is counted as evicted."""
        for domain in self._budget.change(domains_max, idle_s, may_stay, now.boot_s):
            self._leave(domain, now)

    def connections_of(self, series: Series, now: Now) -> Series:
        """Where the connections of a flow of *series* are counted."""
        if series.has_left:
            return self._own(series.direction, OTHER, series.labels, now.wall_s)
        return series

    def bind(self, series: Series) -> int:
        """Notes that a flow refers to a series, by the index that this returns."""
        series.bound += 1
        return series.index

    def unbind(self, series: Series) -> None:
        """A flow refers to the series no longer."""
        series.bound -= 1
        if series.bound == 0 and series.has_left:
            self._free.append(series.index)

    @property
    def domains_evicted(self) -> int:
        """How many times a domain's series have left."""
        budget = self._budget
        return self.evicted_before + budget.displaced + budget.expired + budget.withdrawn

    def domains_by_index(self) -> list[str]:
        """The domain of each series that flows can refer to."""
        return [series.domain for series in self.by_index]

    def shown(self) -> Iterator[Series]:
        """Every counter."""
        yield from self._shown.values()

    def waiting(self) -> Iterator[Series]:
        """Every gauge of what is pending."""
        yield from self._pending.values()

    def explained(self, direction: int) -> Count:
        """All that was counted, wherever it is now."""
        evicted = self.evicted[direction]
        mine = _sum(self.shown(), direction)
        waiting = self.pending_count(direction)
        return Count(
            evicted.packets + mine.packets + waiting.packets,
            evicted.bytes + mine.bytes + waiting.bytes,
        )

    def pending_count(self, direction: int) -> Count:
        """What flows without a verdict have counted."""
        return _sum(self.waiting(), direction)

    def domains(self) -> tuple[DomainCounts, ...]:
        """Every counter, as the outputs see it; connections without a verdict count as unknown."""
        return tuple(
            [
                DomainCounts._make(
                    (
                        DIRECTIONS[each.direction],
                        each.domain,
                        each.labels,
                        each.packets,
                        each.bytes,
                        each.active_connections
                        if each.domain != UNKNOWN
                        else self._unknown_connections(each),
                        each.created_s,
                    )
                )
                for each in self._shown.values()
            ]
        )

    def _unknown_connections(self, series: Series) -> int:
        waiting = self._pending.get((series.direction, series.labels))
        return series.active_connections + (waiting.active_connections if waiting else 0)

    def _own(self, direction: int, domain: str, labels: Labels, wall_s: float) -> Series:
        key = (direction, domain, labels)
        series = self._shown.get(key)
        if series is None:
            series = self._shown[key] = self._new(direction, domain, labels, wall_s)
            series.contested = domain == OTHER
            if domain not in RESERVED:
                self._of_domain.setdefault(domain, []).append(series)
        return series

    def _new(self, direction: int, domain: str, labels: Labels, wall_s: float) -> Series:
        index = self._free.pop() if self._free else len(self.by_index)
        series = Series(direction, domain, labels, wall_s, index)
        if index == len(self.by_index):
            self.by_index.append(series)
        else:
            self.by_index[index] = series
        return series

    def _leave(self, domain: str, now: Now) -> None:
        """Its counts move to what was evicted; its flows find a new series when they count."""
        for series in self._of_domain.pop(domain, ()):
            del self._shown[series.direction, domain, series.labels]
            series.contested = series.has_left = True
            self.add_evicted(series.direction, series.packets, series.bytes)
            if series.active_connections:
                other = self.connections_of(series, now)
                other.active_connections += series.active_connections
                series.active_connections = 0
            if not series.bound:
                self._free.append(series.index)


def _sum(every: Iterable[Series], direction: int) -> Count:
    mine = [each for each in every if each.direction == direction]
    return Count(sum([each.packets for each in mine]), sum([each.bytes for each in mine]))
