"""Adds what the kernel counted to the series of each direction and domain; nothing is ever taken
away.

The fold is pure: it reads no clock, no file and no map. Every change that the flow table reports,
and every packet that has no flow, is added to exactly one series, so that the series sum to what
the kernel counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.capture.flow_table import Change
from exporter.capture.records import FLOW_ENDED, FLOW_HEAD_FLAGS, FLOW_OPENER, DeviceTotals, Flow
from exporter.counts.snapshot import DIRECTIONS, Count, DomainCounts
from exporter.names.attribution import UNKNOWN

_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS


@dataclass(slots=True)
class _Series:
    direction: int
    domain: str
    created_s: float
    packets: int = 0
    bytes: int = 0
    active_connections: int = 0


class Fold:
    """The cumulative counts of each direction and domain, and which series each flow belongs to."""

    def __init__(self, slots: int, created_s: float) -> None:
        """*slots*: of the flow table; *created_s*: seconds since the epoch."""
        self._series = [_Series(n, UNKNOWN, created_s) for n in range(len(DIRECTIONS))]
        self._index = {(each.direction, each.domain): n for n, each in enumerate(self._series)}
        self._series_of = memoryview(bytearray(4 * slots)).cast("I")
        self._is_active = bytearray(slots)
        self._without_flow: dict[tuple[int, int], Count] = {}

    def opened(self, flow: Flow, domain: str, now_s: float) -> None:
        """From now on the flow's counts belong to *domain*. *now_s*: seconds since the epoch."""
        key = (flow.direction, domain)
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self._series)
            self._series.append(_Series(flow.direction, domain, now_s))
        self._series_of[flow.slot] = index
        if flow.flags & FLOW_OPENER and not flow.flags & FLOW_ENDED:
            self._is_active[flow.slot] = 1
            self._series[index].active_connections += 1

    def ended(self, slot: int) -> None:
        """The flow's connection is closed, or has been silent for too long."""
        if self._is_active[slot]:
            self._is_active[slot] = 0
            self._series[self._series_of[slot]].active_connections -= 1

    def add(self, changes: Iterable[Change]) -> None:
        """Adds what flows have counted; each was `opened` before."""
        all_series, series_of = self._series, self._series_of
        for slot, head, packets, wire_bytes in changes:
            series = all_series[series_of[slot]]
            series.packets += packets
            series.bytes += wire_bytes
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
        self._without_flow[device_slot, direction] = Count(packets, wire_bytes)

    def explained(self, direction: int) -> Count:
        """All that the series of one direction hold."""
        mine = [each for each in self._series if each.direction == direction]
        return Count(sum(each.packets for each in mine), sum(each.bytes for each in mine))

    def domains(self) -> tuple[DomainCounts, ...]:
        """Every series, as the outputs see it."""
        return tuple(
            DomainCounts(
                DIRECTIONS[each.direction],
                each.domain,
                each.packets,
                each.bytes,
                each.active_connections,
                each.created_s,
            )
            for each in self._series
        )
