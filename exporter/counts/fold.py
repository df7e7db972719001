"""Adds what the kernel counted to the series of each direction and domain; nothing is ever taken
away.

The fold is pure: it reads no clock, no file and no map. Every change that the flow table reports,
and every packet that has no flow, is added to exactly one series, so that the series, with what
those that left had counted, sum to what the kernel counted.

A flow whose domain is not known yet is counted as pending, which is no counter but a gauge: with
the verdict all that it has counted moves to its domain at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.capture.flow_table import Change
from exporter.capture.records import FLOW_ENDED, FLOW_HEAD_FLAGS, FLOW_OPENER, DeviceTotals, Flow
from exporter.clock import Now
from exporter.counts.budget import Budget
from exporter.counts.series import Labels, Series, SeriesTable
from exporter.counts.snapshot import DIRECTIONS, AttributedBytes, Count, DomainCounts
from exporter.memory import zeros
from exporter.names.attribution import NONE, SOURCES, Verdict
from exporter.names.domains import OTHER, RESERVED, UNKNOWN
from exporter.names.scope import AddedLabels

_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS
_BOTH = range(len(DIRECTIONS))
_SOURCE_MASK = 0x3F
_HAS_FLOW = 0x40
_UNEXPECTED = 0x80


class Fold:
    """The cumulative counts of all series, and which of them each flow belongs to."""

    def __init__(self, slots: int, budget: Budget, labels: AddedLabels, created_s: float) -> None:
        """*slots*: of the flow table; *created_s*: seconds since the epoch."""
        self.label_names = labels.names
        self._labels = labels
        self._table = SeriesTable(budget, (UNKNOWN,) * len(labels.names), created_s)
        self._slots = slots
        self._series_of = zeros("I", slots)
        self._evidence_of = zeros("B", slots)
        """Of each flow: the index of its source in SOURCES, and whether it was unexpected; 0 of a
        slot without one.
        """
        self._is_active = zeros("B", slots)
        self._names: list[str | None] = []
        """Of flows that count as `other`, their domain; made when there is one."""
        self._attributed = [[0] * len(SOURCES) for _ in _BOTH]
        self._unexpected = [0, 0]
        self._without_flow: dict[tuple[int, int], Count] = {}

    def opened(self, flow: Flow) -> None:
        """From now on the flow's counts are pending, until `decide` says whose they are."""
        series = self._table.pending(flow.direction, self._labels.of(flow))
        self._series_of[flow.slot] = self._table.bind(series)
        self._evidence_of[flow.slot] = SOURCES.index(NONE) | _HAS_FLOW
        if flow.flags & FLOW_OPENER and not flow.flags & FLOW_ENDED:
            self._is_active[flow.slot] = 1
            series.active_connections += 1

    def decide(self, verdict: Verdict, counted: Count, now: Now) -> None:
        """The flow belongs to a domain. *counted*: what was added of it since it was opened.

        If it was pending, that moves along; if it had a domain, only what follows is the new one's.
        A flow that is gone, whose payload came late, has nothing to decide.
        """
        slot, domain, source, is_expected = verdict
        if not self._evidence_of[slot]:
            return
        before = self._table.by_index[self._series_of[slot]]
        evidence = SOURCES.index(source) | _HAS_FLOW | (0 if is_expected else _UNEXPECTED)
        self._evidence_of[slot] = evidence
        after = self._table.of(before.direction, domain, before.labels, now)
        if after.domain == OTHER and domain not in RESERVED:
            self._name(slot, domain)
            if before.is_pending and self._table.weigh(domain, counted.bytes, now):
                after = self._table.of(before.direction, domain, before.labels, now)
                after.weighed += counted.bytes
        else:
            self._name(slot, None)
        self._rebind(slot, before, after, now)
        if before.is_pending:
            before.packets -= counted.packets
            before.bytes -= counted.bytes
            after.packets += counted.packets
            after.bytes += counted.bytes
            self._add_evidence(after.direction, evidence, counted.bytes)

    def _name(self, slot: int, domain: str | None) -> None:
        if domain is not None and not self._names:
            self._names = [None] * self._slots
        if self._names:
            self._names[slot] = domain

    def _rebind(self, slot: int, before: Series, after: Series, now: Now) -> None:
        if self._is_active[slot]:
            self._table.connections_of(before, now).active_connections -= 1
            self._table.connections_of(after, now).active_connections += 1
        self._series_of[slot] = self._table.bind(after)
        self._table.unbind(before)

    def _contest(self, slot: int, series: Series, wire_bytes: int, now: Now) -> Series:
        """The flow counts again whose domain has no series, or has one no longer."""
        domain = series.domain if series.has_left else (self._names or (None,) * (slot + 1))[slot]
        if domain is None:
            return series
        has_series = self._table.weigh(domain, wire_bytes, now)
        after = self._table.of(series.direction, domain, series.labels, now)
        if has_series and after.domain != OTHER:
            after.weighed += wire_bytes
        self._name(slot, domain if after.domain == OTHER else None)
        if after is not series:
            self._rebind(slot, series, after, now)
        return after

    def ended(self, slot: int, now: Now) -> None:
        """The flow's connection is closed, or has been silent for too long."""
        if self._is_active[slot]:
            self._is_active[slot] = 0
            series = self._table.by_index[self._series_of[slot]]
            self._table.connections_of(series, now).active_connections -= 1

    def gone(self, slot: int, now: Now) -> None:
        """The flow has left the table: nothing of it will be added any more."""
        self.ended(slot, now)
        self._table.unbind(self._table.by_index[self._series_of[slot]])
        self._series_of[slot] = 0
        self._evidence_of[slot] = 0
        self._name(slot, None)

    def add(self, changes: Iterable[Change], now: Now) -> None:
        """Adds what flows have counted; each was `opened` before."""
        by_index, series_of, evidence_of = self._table.by_index, self._series_of, self._evidence_of
        for slot, head, packets, wire_bytes in changes:
            series = by_index[series_of[slot]]
            if series.contested:
                series = self._contest(slot, series, wire_bytes, now)
            series.packets += packets
            series.bytes += wire_bytes
            if not series.is_pending:
                self._add_evidence(series.direction, evidence_of[slot], wire_bytes)
            if head & _ENDED:
                self.ended(slot, now)

    def _add_evidence(self, direction: int, evidence: int, wire_bytes: int) -> None:
        self._attributed[direction][evidence & _SOURCE_MASK] += wire_bytes
        if evidence & _UNEXPECTED:
            self._unexpected[direction] += wire_bytes

    def add_without_flow(self, device_slot: int, direction: int, totals: DeviceTotals) -> None:
        """Adds what has no flow: what found no room in the table, and what is not IP."""
        packets = totals.overflow_packets + totals.non_ip_packets
        wire_bytes = totals.overflow_bytes + totals.non_ip_bytes
        before = self._without_flow.get((device_slot, direction), Count())
        series = self._table.unknown[direction]
        series.packets += packets - before.packets
        series.bytes += wire_bytes - before.bytes
        self._add_evidence(direction, SOURCES.index(NONE), wire_bytes - before.bytes)
        self._without_flow[device_slot, direction] = Count(packets, wire_bytes)

    def swept(self, now: Now) -> None:
        """All changes of a sweep are added: the budget learns of them."""
        self._table.weigh_own(now)

    def explained(self, direction: int) -> Count:
        """All that was added, wherever it is now."""
        every = [*self._table.shown(), *self._table.waiting()]
        mine = [each for each in every if each.direction == direction]
        evicted = self.evicted(direction)
        return Count(
            evicted.packets + sum(each.packets for each in mine),
            evicted.bytes + sum(each.bytes for each in mine),
        )

    def evicted(self, direction: int) -> Count:
        """What series that left had counted."""
        return self._table.evicted[direction]

    @property
    def domains_evicted(self) -> int:
        """How many times a domain's series have left."""
        return self._table.domains_evicted

    def pending(self, direction: int) -> Count:
        """What flows without a verdict have counted."""
        mine = [each for each in self._table.waiting() if each.direction == direction]
        return Count(sum(each.packets for each in mine), sum(each.bytes for each in mine))

    def unexpected_bytes(self, direction: int) -> int:
        """Bytes of domains that were not expected."""
        return self._unexpected[direction]

    def attributed(self) -> tuple[AttributedBytes, ...]:
        """How the names behind all bytes were known."""
        return tuple(
            AttributedBytes(DIRECTIONS[direction], source, wire_bytes)
            for direction in _BOTH
            for source, wire_bytes in zip(SOURCES, self._attributed[direction], strict=True)
        )

    def domains(self) -> tuple[DomainCounts, ...]:
        """Every series, as the outputs see it; connections without a verdict count as unknown."""
        connections: dict[tuple[int, str, Labels], int] = {}
        for each in (*self._table.shown(), *self._table.waiting()):
            key = (each.direction, each.domain, each.labels)
            connections[key] = connections.get(key, 0) + each.active_connections
        return tuple(
            DomainCounts(
                DIRECTIONS[each.direction],
                each.domain,
                each.labels,
                each.packets,
                each.bytes,
                connections[each.direction, each.domain, each.labels],
                each.created_s,
            )
            for each in self._table.shown()
        )
