"""Adds what the kernel counted to the series of each direction and domain; nothing is ever taken
away.

The fold is pure: it reads no clock, no file and no map. Every change that the flow table reports,
and every packet that has no flow, is added to exactly one series, so that the series sum to what
the kernel counted.

A flow whose domain is not known yet is counted as pending, which is no counter but a gauge: with
the verdict all that it has counted moves to its domain at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.capture.flow_table import Change
from exporter.capture.records import FLOW_ENDED, FLOW_HEAD_FLAGS, FLOW_OPENER, DeviceTotals, Flow
from exporter.counts.snapshot import DIRECTIONS, AttributedBytes, Count, DomainCounts
from exporter.names.attribution import NONE, SOURCES, UNKNOWN, Verdict

_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS
_BOTH = range(len(DIRECTIONS))


@dataclass(slots=True)
class _Series:
    direction: int
    domain: str
    created_s: float
    is_pending: bool = False
    packets: int = 0
    bytes: int = 0
    active_connections: int = 0


class Fold:
    """The cumulative counts of each direction and domain, and which series each flow belongs to."""

    def __init__(self, slots: int, created_s: float) -> None:
        """*slots*: of the flow table; *created_s*: seconds since the epoch."""
        unknown = [_Series(direction, UNKNOWN, created_s) for direction in _BOTH]
        self._pending = [_Series(direction, UNKNOWN, created_s, True) for direction in _BOTH]
        self._series = [*unknown, *self._pending]
        self._index = {(each.direction, each.domain): n for n, each in enumerate(unknown)}
        self._series_of = memoryview(bytearray(4 * slots)).cast("I")
        self._source_of = bytearray(slots)
        self._is_active = bytearray(slots)
        self._attributed = [[0] * len(SOURCES) for _ in _BOTH]
        self._without_flow: dict[tuple[int, int], Count] = {}

    def opened(self, flow: Flow) -> None:
        """From now on the flow's counts are pending, until `decide` says whose they are."""
        self._series_of[flow.slot] = len(_BOTH) + flow.direction
        if flow.flags & FLOW_OPENER and not flow.flags & FLOW_ENDED:
            self._is_active[flow.slot] = 1
            self._pending[flow.direction].active_connections += 1

    def decide(self, verdict: Verdict, counted: Count, now_s: float) -> None:
        """The flow belongs to a domain. *counted*: what was added of it since it was opened.

        If it was pending, that moves along; if it had a domain, only what follows is the new one's.
        *now_s*: seconds since the epoch.
        """
        before = self._series[self._series_of[verdict.slot]]
        key = (before.direction, verdict.domain)
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self._series)
            self._series.append(_Series(*key, now_s))
        source = SOURCES.index(verdict.source)
        after = self._series[index]
        self._series_of[verdict.slot] = index
        self._source_of[verdict.slot] = source
        if self._is_active[verdict.slot]:
            before.active_connections -= 1
            after.active_connections += 1
        if before.is_pending:
            before.packets -= counted.packets
            before.bytes -= counted.bytes
            after.packets += counted.packets
            after.bytes += counted.bytes
            self._attributed[after.direction][source] += counted.bytes

    def ended(self, slot: int) -> None:
        """The flow's connection is closed, or has been silent for too long."""
        if self._is_active[slot]:
            self._is_active[slot] = 0
            self._series[self._series_of[slot]].active_connections -= 1

    def add(self, changes: Iterable[Change]) -> None:
        """Adds what flows have counted; each was `opened` before."""
        all_series, series_of = self._series, self._series_of
        source_of, attributed = self._source_of, self._attributed
        for slot, head, packets, wire_bytes in changes:
            series = all_series[series_of[slot]]
            series.packets += packets
            series.bytes += wire_bytes
            if not series.is_pending:
                attributed[series.direction][source_of[slot]] += wire_bytes
            if head & _ENDED:
                self.ended(slot)

    def add_without_flow(self, device_slot: int, direction: int, totals: DeviceTotals) -> None:
        """Adds what has no flow: what found no room in the table, and what is not IP."""
        packets = totals.overflow_packets + totals.non_ip_packets
        wire_bytes = totals.overflow_bytes + totals.non_ip_bytes
        before = self._without_flow.get((device_slot, direction), Count())
        series = self._series[direction]
        series.packets += packets - before.packets
        series.bytes += wire_bytes - before.bytes
        self._attributed[direction][SOURCES.index(NONE)] += wire_bytes - before.bytes
        self._without_flow[device_slot, direction] = Count(packets, wire_bytes)

    def explained(self, direction: int) -> Count:
        """All that the series of one direction hold, pending ones too."""
        mine = [each for each in self._series if each.direction == direction]
        return Count(sum(each.packets for each in mine), sum(each.bytes for each in mine))

    def pending(self, direction: int) -> Count:
        """What flows without a verdict have counted."""
        return Count(self._pending[direction].packets, self._pending[direction].bytes)

    def attributed(self) -> tuple[AttributedBytes, ...]:
        """How the names behind all bytes were known."""
        return tuple(
            AttributedBytes(DIRECTIONS[direction], source, wire_bytes)
            for direction in _BOTH
            for source, wire_bytes in zip(SOURCES, self._attributed[direction], strict=True)
        )

    def domains(self) -> tuple[DomainCounts, ...]:
        """Every series, as the outputs see it; connections without a verdict count as unknown."""
        waiting = [each.active_connections for each in self._pending]
        return tuple(
            DomainCounts(
                DIRECTIONS[each.direction],
                each.domain,
                each.packets,
                each.bytes,
                each.active_connections + (waiting[each.direction] if n in _BOTH else 0),
                each.created_s,
            )
            for n, each in enumerate(self._series)
            if not each.is_pending
        )
